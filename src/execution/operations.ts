/**
 * Turns a document into its answer, the same way over HTTP and sockets: parsing and validation with their limits,
 * execution and subscription with masked errors.
 */
import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases'
import { maxDepthRule } from '@escape.tech/graphql-armor-max-depth'
import { createComplexityRule } from '@pothos/plugin-complexity'
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  Kind,
  parse,
  specifiedRules,
  type ValidationContext,
  validate,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import type { Config } from '../config.ts'
import { type ErrorCode, forbidden, unauthenticated } from '../presence/errors.ts'
import type { PayloadOutlet } from '../presence/feed.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { callerOf, type Limits, type Payer, UNITS } from '../server/limits/limits.ts'
import { type ErrorMask, located, maskedResult } from './client-errors.ts'
import { createIntrospection } from './introspection.ts'
import type { Execute } from './kept-texts.ts'
import type { Subscribe } from './selections.ts'
import { subscriptionRootRule } from './subscription-root-rule.ts'

/** Documents kept parsed and validated: apps have a few dozen. A parsed document takes about fifty times its text. */
const MAX_DOCUMENTS = 500
const MAX_DOCUMENTS_CHARACTERS = 1024 * 1024
/** The cost of a document with short variables is cached too: heartbeats are the same every time. */
const MAX_COSTS_PER_DOCUMENT = 50
const MAX_KEY_CHARACTERS = 200
/** From this cost on, an operation waits for its turn: it takes a millisecond or more. */
const EXPENSIVE_UNITS = 1000
/** How much more of the schema a document may read than the usual whole introspection query. */
const MAX_INTROSPECTION_WHOLES = 2
/** Introspection results that are cached: tools use two or three documents. */
const MAX_INTROSPECTIONS = 4

export interface Operation {
  readonly query: string
  readonly operationName?: string | null | undefined
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined
}

export type Prepared = Ready | Refused

interface Ready {
  readonly document: DocumentNode
  /** The cost of its execution, in the units of src/server/limits/limits.ts. */
  readonly units: number
  readonly readsSchema: boolean
}

interface Refused {
  readonly errors: readonly GraphQLError[]
}

/** A parsed and valid document, with its cost for each operation name and variables it was requested with. */
interface Valid {
  readonly document: DocumentNode
  readonly costs: Map<string, Ready | Refused>
}

export interface Work {
  readonly payer: Payer
  /** Its cost in units of work. */
  readonly units: number
  /** Whether its client still waits for the answer. */
  isWanted(): boolean
}

export interface Operations {
  readonly schema: GraphQLSchema
  /** Parses, validates and charges an operation. If the payer cannot afford it, the errors say so. */
  prepare(operation: Operation, payer: Payer): Prepared
  /** Runs an operation. Expensive queries of one caller run one after the other. */
  execute(args: ExecutionArgs, work: Work): Promise<ExecutionResult>
  /**
   * Executes a subscription: one payload per event, or errors if it cannot begin.
   *
   * @param outlet - if given, shared payloads go there as text, and the generator yields the rest
   */
  subscribe(args: ExecutionArgs, payer: Payer, outlet: PayloadOutlet | null): ReturnType<Subscribe>
}

export interface OperationsOptions {
  readonly schema: GraphQLSchema
  readonly config: Pick<
    Config,
    'MAX_DOCUMENT_BYTES' | 'MAX_TOKENS' | 'MAX_DEPTH' | 'MAX_ALIASES' | 'MAX_COMPLEXITY' | 'INTROSPECTION' | 'NODE_ENV'
  >
  readonly limits: Pick<Limits, 'charge' | 'expensiveTurns' | 'openSubscription'>
  readonly mask: ErrorMask
  /** Both return unmasked errors. */
  readonly execute: Execute
  readonly subscribe: Subscribe
}

export function createOperations({ schema, config, limits, mask, execute, subscribe }: OperationsOptions): Operations {
  const introspection = createIntrospection(schema)
  const introspected = new LRUCache<DocumentNode, ExecutionResult>({ max: MAX_INTROSPECTIONS })
  const mayIntrospect = config.INTROSPECTION ?? (config.NODE_ENV === 'production' ? 'token' : 'anyone')
  const prepared = new LRUCache<string, Valid>({
    max: MAX_DOCUMENTS,
    maxSize: MAX_DOCUMENTS_CHARACTERS,
    sizeCalculation: (_found, query) => query.length + 1,
  })
  // Rules that do not depend on the variables.
  const rules = [
    ...specifiedRules,
    subscriptionRootRule,
    maxDepthRule({
      n: config.MAX_DEPTH,
      exposeLimits: true,
      // A fragment is no level: components of Relay and Apollo have one each.
      flattenFragments: true,
      ...reportedAs(`at most ${config.MAX_DEPTH} levels deep`),
    }),
    maxAliasesRule({
      n: config.MAX_ALIASES,
      exposeLimits: true,
      ...reportedAs(`at most ${config.MAX_ALIASES} aliases`),
    }),
  ]

  function prepareDocument(query: string): Valid | Refused {
    const bytes = Buffer.byteLength(query)
    if (bytes > config.MAX_DOCUMENT_BYTES) {
      return refused(
        `query must be at most ${config.MAX_DOCUMENT_BYTES} bytes, not ${bytes}.`,
        'query',
        `at most ${config.MAX_DOCUMENT_BYTES} bytes`,
      )
    }
    let document: DocumentNode
    try {
      document = parse(query, { maxTokens: config.MAX_TOKENS })
    } catch (error) {
      if (!(error instanceof GraphQLError && TOO_MANY_TOKENS.test(error.message))) {
        return { errors: [coded(error, 'GRAPHQL_PARSE_FAILED')] }
      }
      const bound = `at most ${config.MAX_TOKENS} tokens`
      const extensions = { code: 'GRAPHQL_PARSE_FAILED' satisfies ErrorCode, argument: 'query', bound }
      return { errors: [new GraphQLError(`query must have ${bound}.`, { extensions })] }
    }
    const errors = validate(schema, document, rules)
    return errors.length === 0
      ? { document, costs: new Map() }
      : { errors: errors.map((error) => coded(error, 'GRAPHQL_VALIDATION_FAILED')) }
  }

  /** Checks what depends on the variables: whether they have the types in the document, and the cost with them. */
  function price(document: DocumentNode, { operationName, variables }: Operation): Ready | Refused {
    const operation = getOperationAST(document, operationName)
    if (!operation)
      return {
        errors: [
          new GraphQLError('There is no such operation in the document.', {
            extensions: { code: 'BAD_USER_INPUT', argument: 'operationName' },
          }),
        ],
      }
    const { errors, coerced } = getVariableValues(
      schema,
      operation.variableDefinitions ?? [],
      { ...variables },
      { maxErrors: 10 },
    )
    if (errors !== undefined) return { errors: errors.map((error) => coded(error, 'BAD_USER_INPUT')) }
    const schemaCost = introspection.costOf(document, operation)
    if (schemaCost > MAX_INTROSPECTION_WHOLES * introspection.wholeCost) {
      return refused(
        'The document reads more of the schema than twice the usual introspection query.',
        'query',
        `at most ${MAX_INTROSPECTION_WHOLES} times the usual introspection query`,
      )
    }
    let units: number = UNITS.operation + schemaCost
    const rule = createComplexityRule({
      context: {},
      operationName: operationName ?? null,
      variableValues: coerced,
      maxComplexity: config.MAX_COMPLEXITY,
      onResult({ complexity }) {
        units = UNITS.operation + schemaCost + complexity
      },
    })
    try {
      const tooDear = validate(schema, document, [rule])
      if (tooDear.length > 0) return { errors: tooDear.map((error) => coded(error, 'GRAPHQL_VALIDATION_FAILED')) }
    } catch (error) {
      // The rule coerces arguments itself, and throws if a null is given for a non-null type.
      return { errors: [coded(error, 'BAD_USER_INPUT')] }
    }
    return { document, units, readsSchema: schemaCost > 0 }
  }

  /** `price`, cached: the result depends on nothing but the document and the variables. */
  function rememberedPrice(valid: Valid, operation: Operation): Ready | Refused {
    const variables = operation.variables ? JSON.stringify(operation.variables) : ''
    // An empty name is not an omitted name: no operation has an empty name.
    const key = `${JSON.stringify(operation.operationName ?? null)} ${variables}`
    if (key.length > MAX_KEY_CHARACTERS) return price(valid.document, operation)
    const { costs } = valid
    let found = costs.get(key)
    if (found === undefined) {
      found = price(valid.document, operation)
      // Most documents come with the same few variables, the others with new ones every time.
      if (costs.size >= MAX_COSTS_PER_DOCUMENT) costs.clear()
      costs.set(key, found)
    }
    return found
  }

  /** Parses and validates a document that is not cached, and charges for it. */
  function read(query: string, payer: Payer): Valid | Refused {
    limits.charge(payer, UNITS.document + UNITS.documentByte * query.length)
    const found = prepareDocument(query)
    // Refused documents are often made up, and would evict those that apps use.
    if (!('errors' in found)) prepared.set(query, found)
    return found
  }

  function requireIntrospection({ userId }: Payer): void {
    if (mayIntrospect === 'nobody') throw forbidden('The schema cannot be read here: see INTROSPECTION.')
    if (mayIntrospect === 'token' && userId === null)
      throw unauthenticated('The schema can be read with a token only: see INTROSPECTION.')
  }

  async function executeNow(args: ExecutionArgs): Promise<ExecutionResult> {
    if (introspection.isUsual(args.document)) return usualIntrospection(args)
    // Read the position before anything else of the answer: then it is not later than any of it.
    if (asksForPosition(args)) await (args.contextValue as RequestContext).position().catch(() => {})
    return maskedResult(await execute(args), mask)
  }

  /** The result depends only on the document, and many tools use the same few. */
  async function usualIntrospection(args: ExecutionArgs): Promise<ExecutionResult> {
    const result = introspected.get(args.document) ?? maskedResult(await execute(args), mask)
    introspected.set(args.document, result)
    return result
  }

  return {
    schema,

    prepare(operation, payer) {
      try {
        const found = prepared.get(operation.query) ?? read(operation.query, payer)
        if ('errors' in found) return found
        const ready = rememberedPrice(found, operation)
        if ('errors' in ready) return ready
        if (ready.readsSchema) requireIntrospection(payer)
        limits.charge(payer, ready.units)
        return ready
      } catch (error) {
        return { errors: [mask(error)] }
      }
    },

    execute(args, work) {
      const { payer } = work
      // A later message must not overtake a mutation.
      if (work.units < EXPENSIVE_UNITS || payer.isFree || !isQuery(args)) return executeNow(args)
      return limits.expensiveTurns.run(callerOf(payer), async () => (work.isWanted() ? executeNow(args) : {}))
    },

    async subscribe(args, payer, outlet) {
      let close = (): void => {}
      try {
        close = limits.openSubscription(payer)
        const source = await subscribe(args, outlet)
        if (Symbol.asyncIterator in source) return new MaskedResults(source, mask, close)
        close()
        return maskedResult(source, mask)
      } catch (error) {
        close()
        return { errors: [mask(error)] }
      }
    },
  }
}

/** A class, because a node has tens of thousands of them. */
class MaskedResults implements AsyncGenerator<ExecutionResult, void, void> {
  readonly #source: AsyncGenerator<ExecutionResult, void, void>
  readonly #mask: ErrorMask
  readonly #onEnd: () => void

  /** @param onEnd - called when the stream ends, perhaps more than once */
  constructor(source: AsyncGenerator<ExecutionResult, void, void>, mask: ErrorMask, onEnd: () => void) {
    this.#source = source
    this.#mask = mask
    this.#onEnd = onEnd
  }

  async next(): Promise<IteratorResult<ExecutionResult, void>> {
    try {
      const { value, done } = await this.#source.next()
      if (!done) return { value: maskedResult(value, this.#mask), done: false }
      this.#onEnd()
      return { value: undefined, done }
    } catch (error) {
      this.#onEnd()
      // The stream ends with this error. graphql-ws and Yoga both take what is thrown as its errors.
      throw this.#mask(error)
    }
  }

  return(): Promise<IteratorResult<ExecutionResult, void>> {
    this.#onEnd()
    return this.#source.return()
  }

  throw(error: unknown): Promise<IteratorResult<ExecutionResult, void>> {
    this.#onEnd()
    return this.#source.throw(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

/** Whether a document may have `position` at the root of a query, in any selection. */
const asking = new WeakMap<DocumentNode, boolean>()

function asksForPosition(args: ExecutionArgs): boolean {
  // A mutation has no `position`: if it waited for one, later messages would overtake it.
  return mayAskForPosition(args.document) && isQuery(args)
}

function isQuery({ document, operationName }: ExecutionArgs): boolean {
  return getOperationAST(document, operationName)?.operation === 'query'
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

/** What `parse` throws over `maxTokens`: graphql-js calls it a syntax error. */
const TOO_MANY_TOKENS = /contains more tha[nt] \d+ tokens/

/** How a limit rule refuses a document. By default it throws out of `validate`, and says that the syntax is wrong. */
function reportedAs(bound: string) {
  return {
    propagateOnRejection: false,
    onReject: [
      (context: ValidationContext | null, { message }: GraphQLError) => {
        const extensions = { argument: 'query', bound }
        context?.reportError(new GraphQLError(message.replace(/^Syntax Error: /, ''), { extensions }))
      },
    ],
  }
}

function refused(message: string, argument: string, bound: string): Refused {
  return { errors: [new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', argument, bound } })] }
}
