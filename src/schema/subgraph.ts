/**
 * Rollcall as a subgraph of Apollo Federation 2: the schema with `_service` and `_entities`, and the part of it that a
 * gateway composes (docs/federation.md).
 *
 * It is written here and not taken from @apollo/subgraph, whose dependency @apollo/federation-internals is under the
 * Elastic License, and which looks up one user at a time.
 */
import {
  type DefinitionNode,
  extendSchema,
  type FieldDefinitionNode,
  type GraphQLSchema,
  GraphQLUnionType,
  Kind,
  type ObjectTypeDefinitionNode,
  parse,
  print,
  printSchema,
  type TypeNode,
  visit,
} from 'graphql'
import { entities } from '../resolvers/entities.ts'

const LINK = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.0", import: ["@key", "@shareable"])'

/**
 * What the gateway is offered of these types; of all others, every field. Profiles and users by id are the app's own. A
 * session is a tab, so what concerns one's own goes to Rollcall itself.
 */
const OFFERED: Readonly<Record<string, readonly string[]>> = {
  Query: ['onlineUsers', 'onlineCount', 'position'],
  Subscription: ['presenceChanged', 'onlineCountChanged'],
  User: ['id', 'isOnline', 'status', 'statusMessage', 'onlineSince', 'lastActive', 'lastSeen'],
}

/** Where Rollcall cannot be reached, a gateway answers these with null, and not the whole user. */
const NULLABLE_OF_USER: readonly string[] = ['isOnline', 'status']

/** Federation's own fields: https://www.apollographql.com/docs/graphos/reference/federation/subgraph-specific-fields */
const FIELDS = parse(`
  scalar _Any
  union _Entity = User
  type _Service { sdl: String! }
  extend type Query {
    _entities(representations: [_Any!]!): [_Entity]!
    _service: _Service!
  }
`)

export function createSubgraph(schema: GraphQLSchema): GraphQLSchema {
  const sdl = subgraphText(schema)
  const subgraph = extendSchema(schema, FIELDS)
  const { _entities, _service } = subgraph.getQueryType()?.getFields() ?? {}
  const entity = subgraph.getType('_Entity')
  if (!_entities || !_service || !(entity instanceof GraphQLUnionType)) throw new Error('The schema has no Query.')
  entity.resolveType = () => 'User'
  _service.resolve = () => ({ sdl })
  _entities.resolve = entities
  _entities.extensions = {
    complexity: ({ representations }: { readonly representations: readonly unknown[] }) => ({
      field: 1,
      multiplier: Math.max(1, representations.length),
    }),
  }
  return subgraph
}

/** @returns the part of the schema that a gateway composes, in the schema language with Federation's directives */
export function subgraphText(schema: GraphQLSchema): string {
  const definitions = new Map<string, DefinitionNode>()
  for (const definition of parse(printSchema(schema)).definitions) {
    if (!('name' in definition) || definition.name === undefined) continue
    const { value: name } = definition.name
    definitions.set(name, definition.kind === Kind.OBJECT_TYPE_DEFINITION ? offered(definition) : definition)
  }
  const names = new Set(['Query', 'Subscription'])
  for (const name of names) {
    const definition = definitions.get(name)
    if (definition !== undefined) visit(definition, { NamedType: ({ name: { value } }) => void names.add(value) })
  }
  const texts = [...definitions].filter(([name]) => names.has(name)).map(([, definition]) => print(definition))
  return [LINK, ...texts].join('\n\n')
}

function offered(type: ObjectTypeDefinitionNode): ObjectTypeDefinitionNode {
  const names = OFFERED[type.name.value]
  const fields = (type.fields ?? []).filter(({ name }) => names?.includes(name.value) ?? true)
  if (type.name.value === 'PageInfo') return withDirective({ ...type, fields }, '@shareable')
  if (type.name.value !== 'User') return { ...type, fields }
  // The interface has its own way to read a user by id.
  return withDirective({ ...type, interfaces: [], fields: fields.map(ofUser) }, '@key(fields: "id")')
}

function ofUser(field: FieldDefinitionNode): FieldDefinitionNode {
  return NULLABLE_OF_USER.includes(field.name.value) ? { ...field, type: nullable(field.type) } : field
}

function nullable(type: TypeNode): TypeNode {
  return type.kind === Kind.NON_NULL_TYPE ? type.type : type
}

function withDirective(type: ObjectTypeDefinitionNode, text: string): ObjectTypeDefinitionNode {
  const [parsed] = parse(`type Any ${text}`).definitions
  if (parsed?.kind !== Kind.OBJECT_TYPE_DEFINITION) throw new Error(`${text} is no directive.`)
  return { ...type, directives: parsed.directives ?? [] }
}
