/**
 * The cost of reading the schema. A document's complexity does not include it: graphql-js answers `__schema` and
 * `__type` itself, and a thousand bytes that select every type within every field of every type make megabytes.
 */
import {
  type DocumentNode,
  type GraphQLSchema,
  getIntrospectionQuery,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'

/** `_service` has the schema as a text, for gateways (src/schema/subgraph.ts). */
const SCHEMA_FIELDS: ReadonlySet<string> = new Set(['__schema', '__type', '_service'])

export interface Introspection {
  /** @returns about how many fields the answer has; 0 if the operation does not read the schema */
  costOf(document: DocumentNode, operation: OperationDefinitionNode): number
  /** The cost of the usual whole query, with everything that it may ask for. */
  readonly wholeCost: number
  /** Whether a document reads only the schema, without variables, and no more of it than the usual query does. */
  isUsual(document: DocumentNode): boolean
}

export function createIntrospection(schema: GraphQLSchema): Introspection {
  const itemCounts = itemCountsOf(schema)

  function costOf(document: DocumentNode, operation: OperationDefinitionNode): number {
    const fragments = new Map<string, SelectionSetNode>()
    for (const definition of document.definitions) {
      if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition.selectionSet)
    }
    /** Fragments are spread many times, and their cost is computed once. */
    const costs = new Map<SelectionSetNode, number>()

    function costOfAll(selectionSet: SelectionSetNode): number {
      const known = costs.get(selectionSet)
      if (known !== undefined) return known
      let cost = 0
      for (const selection of selectionSet.selections) {
        if (selection.kind === Kind.FIELD) {
          const itemCount = itemCounts.get(selection.name.value) ?? 1
          cost += 1 + (selection.selectionSet === undefined ? 0 : itemCount * costOfAll(selection.selectionSet))
        } else {
          const inner =
            selection.kind === Kind.INLINE_FRAGMENT ? selection.selectionSet : fragments.get(selection.name.value)
          if (inner !== undefined) cost += costOfAll(inner)
        }
      }
      costs.set(selectionSet, cost)
      return cost
    }

    /** graphql-js executes a fragment once per selection, however often it is spread there. */
    const seen = new Set<SelectionSetNode>()

    function costOfRoot(selectionSet: SelectionSetNode): number {
      if (seen.has(selectionSet)) return 0
      seen.add(selectionSet)
      let cost = 0
      for (const selection of selectionSet.selections) {
        if (selection.kind === Kind.FIELD) {
          const isSchema = SCHEMA_FIELDS.has(selection.name.value)
          if (isSchema && selection.selectionSet !== undefined) cost += 1 + costOfAll(selection.selectionSet)
        } else {
          const inner =
            selection.kind === Kind.INLINE_FRAGMENT ? selection.selectionSet : fragments.get(selection.name.value)
          if (inner !== undefined) cost += costOfRoot(inner)
        }
      }
      return cost
    }

    return costOfRoot(operation.selectionSet)
  }

  const whole = parse(
    getIntrospectionQuery({
      specifiedByUrl: true,
      directiveIsRepeatable: true,
      schemaDescription: true,
      inputValueDeprecation: true,
      oneOf: true,
    }),
  )
  const [operation] = whole.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
  if (operation === undefined) throw new Error('The introspection query has no operation.')
  const wholeCost = costOf(whole, operation)
  const usual = new WeakMap<DocumentNode, boolean>()

  function looksUsual(document: DocumentNode): boolean {
    const operations = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
    const [only] = operations
    if (only === undefined || operations.length > 1 || (only.variableDefinitions ?? []).length > 0) return false
    const { selections } = only.selectionSet
    if (!selections.every((selection) => selection.kind === Kind.FIELD && selection.name.value === '__schema'))
      return false
    return costOf(document, only) <= wholeCost
  }

  return {
    costOf,
    wholeCost,

    isUsual(document) {
      let isUsual = usual.get(document)
      if (isUsual === undefined) {
        isUsual = looksUsual(document)
        usual.set(document, isUsual)
      }
      return isUsual
    },
  }
}

/** How many items each list in the introspection schema has on average. */
function itemCountsOf(schema: GraphQLSchema): ReadonlyMap<string, number> {
  const types = Object.values(schema.getTypeMap())
  const withFields = types.filter((type) => isObjectType(type) || isInterfaceType(type))
  const fields = withFields.flatMap((type) => Object.values(type.getFields()))
  const inputs = types.filter(isInputObjectType).flatMap((type) => Object.values(type.getFields()))
  const values = types.filter(isEnumType).flatMap((type) => type.getValues())
  const args = fields.flatMap((field) => field.args)
  const share = (count: number, of: number) => Math.max(1, Math.ceil(count / Math.max(1, of)))
  return new Map([
    ['types', types.length],
    ['fields', share(fields.length, withFields.length)],
    ['args', share(args.length, fields.length)],
    ['inputFields', share(inputs.length, types.length)],
    ['enumValues', share(values.length, types.length)],
    ['interfaces', 1],
    ['possibleTypes', 1],
    ['directives', schema.getDirectives().length],
    ['locations', 4],
  ])
}
