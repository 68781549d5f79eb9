/**
 * Which subscriptions have payloads that are the same for every caller, and which objects never change.
 *
 * A type declares it with the extensions `isSameForAll` and `isImmutable`; a field of it that depends on the caller
 * declares `needsCaller`. Everything else counts as personal: a forgotten declaration costs time, and shares nothing wrongly.
 */
import {
  type DocumentNode,
  type ExecutionArgs,
  type GraphQLSchema,
  getNamedType,
  getOperationAST,
  isLeafType,
  isObjectType,
  isSpecifiedDirective,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'

/**
 * @returns whether an operation may be shared
 * @throws Error if a type that is the same for all has a field of a type that is not, without `needsCaller`
 */
export function createShareability(
  schema: GraphQLSchema,
): (operation: Pick<ExecutionArgs, 'document' | 'operationName'>) => boolean {
  refuseContradictions(schema)
  const answers = new WeakMap<DocumentNode, Map<string | null, boolean>>()

  function isShareable(document: DocumentNode, operationName: string | null): boolean {
    const operation = getOperationAST(document, operationName)
    const root = schema.getSubscriptionType()
    if (!operation || !root) return false
    let isPersonal = false
    const types = new TypeInfo(schema)
    // Check all fragments, whether or not this operation uses them: sharing too seldom does no harm.
    visit(
      document,
      visitWithTypeInfo(types, {
        OperationDefinition: (node) => (node === operation ? undefined : false),
        Directive() {
          const directive = types.getDirective()
          if (!directive || !isSpecifiedDirective(directive)) isPersonal = true
        },
        Field(node) {
          const parent = types.getParentType()
          const type = getNamedType(types.getType())
          if (node.name.value === '__typename') return
          if (parent === root) isPersonal ||= !isObjectType(type) || !isSameForAll(type)
          else isPersonal ||= !isObjectType(parent) || !isSameForAll(parent) || needsCaller(types.getFieldDef())
        },
      }),
    )
    return !isPersonal
  }

  return ({ document, operationName }) => {
    let ofDocument = answers.get(document)
    if (ofDocument === undefined) {
      ofDocument = new Map()
      answers.set(document, ofDocument)
    }
    const name = operationName ?? null
    let answer = ofDocument.get(name)
    if (answer === undefined) {
      answer = isShareable(document, name)
      ofDocument.set(name, answer)
    }
    return answer
  }
}

/** What is the same for all must not depend on the caller: a field that reads its context fails at once, for all. */
export const NO_CALLER = new Proxy(
  {},
  {
    get(_target, name) {
      throw new Error(`A field that is shared asked for ${String(name)} of its caller.`)
    },
  },
)

interface Extended {
  readonly extensions: Readonly<Record<string, unknown>>
}

function isSameForAll({ extensions }: Extended): boolean {
  return extensions.isSameForAll === true
}

/** Whether an object of this type never changes: a changed one is another object. */
export function isImmutable({ extensions }: Extended): boolean {
  return extensions.isImmutable === true
}

export function needsCaller(field: Extended | null | undefined): boolean {
  return !field || field.extensions.needsCaller === true
}

function refuseContradictions(schema: GraphQLSchema): void {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue
    if (isImmutable(type) && !isSameForAll(type))
      throw new Error(`${type.name} never changes, and is not the same for all.`)
    if (!isSameForAll(type)) continue
    for (const field of Object.values(type.getFields())) {
      const of = getNamedType(field.type)
      if (isLeafType(of) || needsCaller(field) || (isObjectType(of) && isSameForAll(of))) continue
      throw new Error(`${type.name} is the same for all, and ${type.name}.${field.name} is a ${of.name}, which is not.`)
    }
  }
}
