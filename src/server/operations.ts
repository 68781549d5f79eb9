/**
 * From a document to its answer, the same over HTTP and sockets: parsing and validation with their limits, execution
 * and subscription with masked errors.
 */
import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases'
import { maxDepthRule } from '@escape.tech/graphql-armor-max-depth'
import { createComplexityRule } from '@pothos/plugin-complexity'
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  Kind,
  parse,
  specifiedRules,
  validate,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import type { Config } from '../config.ts'
import type { ErrorCode } from '../presence/errors.ts'
import type { PayloadOutlet } from '../presence/feed.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { type ErrorMask, located, maskedResult } from './client-errors.ts'
import { subscriptionRootRule } from './subscription-root-rule.ts'

/** Documents kept parsed and validated: apps have a few dozen, and each is a few hundred kilobytes at the most. */
const DOCUMENTS_KEPT = 500
/** What a document costs with these variables is kept too, where they are short: heartbeats are the same every time. */
const COSTS_KEPT_A_DOCUMENT = 50
const KEY_CHARACTERS_MOST = 200

export interface Operation {
  readonly query: string
  readonly operationName?: string | null | undefined
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined
}

export type Prepared = { readonly document: DocumentNode } | Refused

interface Refused {
  readonly errors: readonly GraphQLError[]
}

/** A document that is parsed and valid, with the errors of the operations and variables that it was asked with. */
interface Valid {
  readonly document: DocumentNode
  readonly variableErrors: Map<string, readonly GraphQLError[]>
}

export interface Operations {
  readonly schema: GraphQLSchema
  prepare(operation: Operation): Prepared
  execute(args: ExecutionArgs): Promise<ExecutionResult>
  /** @param outlet - where given, payloads that are shared go there as text, and the generator brings the rest */
  readonly subscribe: Subscribe
}

type Limits = Pick<Config, 'MAX_DOCUMENT_BYTES' | 'MAX_TOKENS' | 'MAX_DEPTH' | 'MAX_ALIASES' | 'MAX_COMPLEXITY'>

/** Executes a subscription: one payload an event, or errors where it cannot begin. */
export type Subscribe = (
  args: ExecutionArgs,
  outlet: PayloadOutlet | null,
) => Promise<AsyncGenerator<ExecutionResult, void, void> | ExecutionResult>

/** @param subscribe - with unmasked errors */
export function createOperations(
  schema: GraphQLSchema,
  limits: Limits,
  mask: ErrorMask,
  subscribe: Subscribe,
): Operations {
  const prepared = new LRUCache<string, Valid | Refused>({ max: DOCUMENTS_KEPT })
  // Rules that do not depend on the variables.
  const rules = [
    ...specifiedRules,
    subscriptionRootRule,
    maxDepthRule({ n: limits.MAX_DEPTH, exposeLimits: true }),
    maxAliasesRule({ n: limits.MAX_ALIASES, exposeLimits: true }),
  ]

  function prepareDocument(query: string): Valid | Refused {
    const bytes = Buffer.byteLength(query)
    if (bytes > limits.MAX_DOCUMENT_BYTES) {
      return refused(
        `query must be at most ${limits.MAX_DOCUMENT_BYTES} bytes, not ${bytes}.`,
        'query',
        `at most ${limits.MAX_DOCUMENT_BYTES} bytes`,
      )
    }
    let document: DocumentNode
    try {
      document = parse(query, { maxTokens: limits.MAX_TOKENS })
    } catch (error) {
      return { errors: [coded(error, 'GRAPHQL_PARSE_FAILED')] }
    }
    try {
      const errors = validate(schema, document, rules)
      return errors.length === 0
        ? { document, variableErrors: new Map() }
        : { errors: errors.map((error) => coded(error, 'GRAPHQL_VALIDATION_FAILED')) }
    } catch (error) {
      // The rules of limits throw out of `validate`, which over a socket would close it.
      return { errors: [coded(error, 'GRAPHQL_VALIDATION_FAILED')] }
    }
  }

  /** What depends on the variables: whether they have the types that the document says, and what it costs with them. */
  function variableErrors(document: DocumentNode, { operationName, variables }: Operation): readonly GraphQLError[] {
    const operation = getOperationAST(document, operationName)
    if (!operation)
      return [
        new GraphQLError('There is no such operation in the document.', {
          extensions: { code: 'BAD_USER_INPUT', argument: 'operationName' },
        }),
      ]
    const { errors, coerced } = getVariableValues(
      schema,
      operation.variableDefinitions ?? [],
      { ...variables },
      { maxErrors: 10 },
    )
    if (errors !== undefined) return errors.map((error) => coded(error, 'BAD_USER_INPUT'))
    const rule = createComplexityRule({
      context: {},
      operationName: operationName ?? null,
      variableValues: coerced,
      maxComplexity: limits.MAX_COMPLEXITY,
    })
    try {
      return validate(schema, document, [rule]).map((error) => coded(error, 'GRAPHQL_VALIDATION_FAILED'))
    } catch (error) {
      // The rule coerces arguments by itself, and throws where a null stands against a type that has none.
      return [coded(error, 'BAD_USER_INPUT')]
    }
  }

  /** The same, kept for those who ask the same again: both depend on nothing but the document and the variables. */
  function variableErrorsKept(valid: Valid, operation: Operation): readonly GraphQLError[] {
    const variables = operation.variables ? JSON.stringify(operation.variables) : ''
    // An empty name is no name that is left out: with it there is no such operation.
    const key = `${JSON.stringify(operation.operationName ?? null)} ${variables}`
    if (key.length > KEY_CHARACTERS_MOST) return variableErrors(valid.document, operation)
    const kept = valid.variableErrors
    let errors = kept.get(key)
    if (errors === undefined) {
      errors = variableErrors(valid.document, operation)
      // Most are asked with the same few, and the others with new ones every time.
      if (kept.size >= COSTS_KEPT_A_DOCUMENT) kept.clear()
      kept.set(key, errors)
    }
    return errors
  }

  return {
    schema,

    prepare(operation) {
      let found = prepared.get(operation.query)
      if (found === undefined) {
        found = prepareDocument(operation.query)
        prepared.set(operation.query, found)
      }
      if ('errors' in found) return found
      const errors = variableErrorsKept(found, operation)
      return errors.length === 0 ? found : { errors }
    },

    async execute(args) {
      // Taken before anything else of the answer is read: then it is not later than any of it.
      if (asksForPosition(args)) await (args.contextValue as RequestContext).position().catch(() => {})
      return maskedResult(await execute(args), mask)
    },

    async subscribe(args, outlet) {
      const source = await subscribe(args, outlet)
      if (!(Symbol.asyncIterator in source)) return maskedResult(source, mask)
      return new MaskedResults(source, mask)
    },
  }
}

/** A class, because a node has tens of thousands of them. */
class MaskedResults implements AsyncGenerator<ExecutionResult, void, void> {
  readonly #source: AsyncGenerator<ExecutionResult, void, void>
  readonly #mask: ErrorMask

  constructor(source: AsyncGenerator<ExecutionResult, void, void>, mask: ErrorMask) {
    this.#source = source
    this.#mask = mask
  }

  async next(): Promise<IteratorResult<ExecutionResult, void>> {
    try {
      const { value, done } = await this.#source.next()
      return done ? { value: undefined, done } : { value: maskedResult(value, this.#mask), done: false }
    } catch (error) {
      // The stream's last word. graphql-ws and Yoga both take what is thrown as its errors.
      throw this.#mask(error)
    }
  }

  return(): Promise<IteratorResult<ExecutionResult, void>> {
    return this.#source.return()
  }

  throw(error: unknown): Promise<IteratorResult<ExecutionResult, void>> {
    return this.#source.throw(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

/** Whether `position` stands at the root of a query, in whatever selection. */
const asking = new WeakMap<DocumentNode, boolean>()

function asksForPosition({ document, operationName }: ExecutionArgs): boolean {
  // A mutation has none: where it waited for one, what came after it would overtake it.
  return mayAskForPosition(document) && getOperationAST(document, operationName)?.operation === 'query'
}

function mayAskForPosition(document: DocumentNode): boolean {
  let asks = asking.get(document)
  if (asks === undefined) {
    asks = document.definitions.some(
      (definition) =>
        'selectionSet' in definition &&
        definition.selectionSet?.selections.some(
          (selection) => selection.kind !== Kind.FIELD || selection.name.value === 'position',
        ),
    )
    asking.set(document, asks)
  }
  return asks
}

function coded(error: unknown, code: ErrorCode): GraphQLError {
  if (!(error instanceof GraphQLError))
    return new GraphQLError(error instanceof Error ? error.message : String(error), { extensions: { code } })
  return located(error.message, { ...error.extensions, code }, error)
}

function refused(message: string, argument: string, bound: string): Refused {
  return { errors: [new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', argument, bound } })] }
}
