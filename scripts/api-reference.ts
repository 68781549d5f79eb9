/** Prints docs/api.md from the schema; with `--check` fails if it is not there as printed. */
import {
  type GraphQLField,
  type GraphQLNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  isScalarType,
  isSpecifiedScalarType,
  lexicographicSortSchema,
} from 'graphql'
import { schema } from '../src/schema/index.ts'
import { printPart } from './printed-part.ts'

const sorted = lexicographicSortSchema(schema)
const roots = [sorted.getQueryType(), sorted.getMutationType(), sorted.getSubscriptionType()]

function oneLine(text: string | null | undefined): string {
  return (text ?? '').replaceAll(/\s*\n\s*/g, ' ').trim()
}

function cell(text: string | null | undefined): string {
  return oneLine(text).replaceAll('|', '\\|')
}

function operation(field: GraphQLField<unknown, unknown>): string {
  const lines = [`### ${field.name}`, '', `\`${field.name}: ${field.type}\``, '', oneLine(field.description)]
  if (field.args.length > 0) {
    lines.push('', '| argument | type | default | meaning |', '| --- | --- | --- | --- |')
    for (const { name, type, defaultValue, description } of field.args) {
      const byDefault = defaultValue === undefined ? '' : `\`${JSON.stringify(defaultValue)}\``
      lines.push(`| \`${name}\` | \`${type}\` | ${byDefault} | ${cell(description)} |`)
    }
  }
  return lines.join('\n')
}

function table(head: string, rows: readonly string[]): string {
  return [`| ${head} |`, `|${' --- |'.repeat(head.split('|').length)}`, ...rows].join('\n')
}

function typeText(type: GraphQLNamedType): string {
  const parts = [`### ${type.name}`, oneLine(type.description)]
  if (isEnumType(type)) {
    parts.push(
      table(
        'value | meaning',
        type.getValues().map((value) => `| \`${value.name}\` | ${cell(value.description)} |`),
      ),
    )
  } else if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)) {
    const fields = Object.values(type.getFields())
    parts.push(
      table(
        'field | type | meaning',
        fields.map((field) => `| \`${field.name}\` | \`${field.type}\` | ${cell(field.description)} |`),
      ),
    )
  }
  return parts.filter((part) => part !== '').join('\n\n')
}

function kindOf(type: GraphQLNamedType): string {
  if (isScalarType(type)) return 'Scalars'
  if (isEnumType(type)) return 'Enums'
  return 'Types'
}

const types = Object.values(sorted.getTypeMap()).filter(
  (type) => !isIntrospectionType(type) && !isSpecifiedScalarType(type) && !roots.some((root) => root === type),
)
const sections = roots.flatMap((root) =>
  root == null ? [] : [`## ${root.name}`, oneLine(root.description), ...Object.values(root.getFields()).map(operation)],
)
for (const kind of ['Types', 'Enums', 'Scalars']) {
  sections.push(`## ${kind}`, ...types.filter((type) => kindOf(type) === kind).map(typeText))
}

printPart({
  file: 'docs/api.md',
  begin: '<!-- api: printed by `npm run schema:print` -->',
  end: '<!-- /api -->',
  text: sections.filter((section) => section !== '').join('\n\n'),
  source: 'src/schema',
  command: 'npm run schema:print',
})
