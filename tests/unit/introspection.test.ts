import { getIntrospectionQuery, getOperationAST, parse } from 'graphql'
import { describe, expect, it } from 'vitest'
import { createIntrospection } from '../../src/execution/introspection.ts'
import { schema } from '../../src/schema/index.ts'

const introspection = createIntrospection(schema)

function costOf(text: string): number {
  const document = parse(text)
  const operation = getOperationAST(document)
  if (!operation) throw new Error('There is no operation.')
  return introspection.costOf(document, operation)
}

describe('the cost of reading the schema', () => {
  it('is nothing for what does not read it', () => {
    expect(costOf('{ __typename viewer { id } }')).toBe(0)
  })

  it('grows with what is asked for, in fragments too', () => {
    const names = costOf('{ __schema { types { name } } }')
    expect(names).toBeGreaterThan(10)
    expect(costOf('{ __schema { types { name fields { name } } } }')).toBeGreaterThan(3 * names)
    expect(costOf('{ ...S } fragment S on Query { __schema { ...T } } fragment T on __Schema { types { name } }')).toBe(
      names,
    )
    expect(costOf('{ a: __schema { types { name } } b: __schema { types { name } } }')).toBe(2 * names)
  })

  it('is found in one pass, however often fragments are spread', () => {
    const levels = ['A', 'B', 'C', 'D', 'E', 'F', 'G']
    const fragments = levels.map((level, index) => {
      const next = levels[index + 1]
      return `fragment ${level} on Query { ${next === undefined ? '__typename' : `...${next} `.repeat(40)} }`
    })
    expect(costOf(`{ ${'...A '.repeat(40)} } ${fragments.join(' ')}`)).toBe(0)
  })

  it('is that of the usual query or less for each form of it', () => {
    for (const options of [{}, { descriptions: false }, { oneOf: true, inputValueDeprecation: true }]) {
      const text = getIntrospectionQuery(options)
      expect(costOf(text)).toBeLessThanOrEqual(introspection.wholeCost)
      expect(introspection.isUsual(parse(text))).toBe(true)
    }
    expect(introspection.isUsual(parse('{ __schema { types { name } } viewer { id } }'))).toBe(false)
  })
})
