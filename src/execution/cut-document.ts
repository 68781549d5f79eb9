/** Documents without what lies below the fields that are cut (src/execution/cut-schema.ts). */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  type SelectionNode,
  TypeInfo,
  type VariableDefinitionNode,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { cutTypeOf } from './cut-schema.ts'
import { isImmutable, needsCaller } from './shareable.ts'

/** What was cut from a field. */
export interface CutField {
  /** Tells it from the others of its document. */
  readonly id: number
  readonly selections: readonly SelectionNode[]
  /** The fragments that it spreads, also within others. */
  readonly fragments: readonly FragmentDefinitionNode[]
  /** The variables that it depends on, sorted. */
  readonly variables: readonly string[]
}

export interface CutDocument {
  readonly document: DocumentNode
  /** By the node that stands for it in the document. */
  readonly fields: ReadonlyMap<FieldNode, CutField>
}

/** @returns null where nothing can be cut */
export function cutDocument(schema: GraphQLSchema, document: DocumentNode): CutDocument | null {
  if (!canBeCut(schema, document)) return null
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  }
  const fields = new Map<FieldNode, CutField>()
  const types = new TypeInfo(schema)
  const rest = visit(
    document,
    visitWithTypeInfo(types, {
      Field: {
        enter(node) {
          if (node.selectionSet === undefined || cutTypeOf(types.getType()) === null) return undefined
          const { selectionSet, ...leaf } = node
          fields.set(leaf, { id: fields.size, ...reachedFrom(selectionSet.selections, fragments) })
          return leaf
        },
      },
    }),
  )
  return fields.size === 0 ? null : { document: rest, fields }
}

/**
 * A document that selects, of an object, what was cut: the object is its root. A response key may stand several times
 * in a document, and its selections are merged in their order.
 */
export function documentOf(
  fields: readonly CutField[],
  { variableDefinitions }: OperationDefinitionNode,
): DocumentNode {
  const names = new Set(fields.flatMap(({ variables }) => variables))
  const isUsed = ({ variable }: VariableDefinitionNode) => names.has(variable.name.value)
  return {
    kind: Kind.DOCUMENT,
    definitions: [
      {
        kind: Kind.OPERATION_DEFINITION,
        operation: OperationTypeNode.QUERY,
        variableDefinitions: (variableDefinitions ?? []).filter(isUsed),
        selectionSet: {
          kind: Kind.SELECTION_SET,
          selections: fields.flatMap(({ selections }) => selections),
        },
      },
      ...new Set(fields.flatMap(({ fragments }) => fragments)),
    ],
  }
}

/**
 * What is below a cut field may depend on the object and on the variables of `@include` and `@skip`, and on nothing else.
 * Fragments are looked at whether or not an operation uses them: to cut too seldom costs time alone.
 */
function canBeCut(schema: GraphQLSchema, document: DocumentNode): boolean {
  let isPlain = true
  const types = new TypeInfo(schema)
  visit(
    document,
    visitWithTypeInfo(types, {
      Directive({ name }) {
        if (name.value !== 'include' && name.value !== 'skip') isPlain = false
      },
      Field(node) {
        const parent = types.getParentType()
        if (!parent || !isImmutable(parent) || node.name.value === '__typename') return
        if ((node.arguments ?? []).length > 0 || needsCaller(types.getFieldDef())) isPlain = false
      },
    }),
  )
  return isPlain
}

function reachedFrom(
  selections: readonly SelectionNode[],
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): Omit<CutField, 'id'> {
  const reached = new Map<string, FragmentDefinitionNode>()
  const variables = new Set<string>()
  function look(nodes: readonly SelectionNode[]): void {
    for (const node of nodes) {
      visit(node, {
        Variable: ({ name }) => void variables.add(name.value),
        FragmentSpread({ name: { value } }) {
          const fragment = fragments.get(value)
          if (fragment === undefined || reached.has(value)) return
          reached.set(value, fragment)
          look(fragment.selectionSet.selections)
        },
      })
    }
  }
  look(selections)
  return { selections, fragments: [...reached.values()], variables: [...variables].sort() }
}
