/**
 * The root field of a subscription must always be present: no `@skip` and no `@include`.
 *
 * GraphQL's single-field rule counts fields that the directives leave out, and execution fails without a field.
 */
import { type ASTVisitor, GraphQLError, Kind, type SelectionSetNode, type ValidationContext } from 'graphql'

export function subscriptionRootRule(context: ValidationContext): ASTVisitor {
  /** @param seen - fragments that have been checked, however often they are spread */
  function look(selectionSet: SelectionSetNode, seen: Set<string>): void {
    for (const selection of selectionSet.selections) {
      for (const directive of selection.directives ?? []) {
        if (directive.name.value !== 'skip' && directive.name.value !== 'include') continue
        const message = `A subscription must not use @${directive.name.value} at its root.`
        context.reportError(new GraphQLError(message, { nodes: directive }))
      }
      if (selection.kind === Kind.INLINE_FRAGMENT) look(selection.selectionSet, seen)
      if (selection.kind !== Kind.FRAGMENT_SPREAD || seen.has(selection.name.value)) continue
      seen.add(selection.name.value)
      const fragment = context.getFragment(selection.name.value)
      if (fragment) look(fragment.selectionSet, seen)
    }
  }

  return {
    OperationDefinition({ operation, selectionSet }) {
      if (operation === 'subscription') look(selectionSet, new Set())
    },
  }
}
