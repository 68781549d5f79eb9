/**
 * GraphQL subscriptions in which one execution and one JSON text serve every subscriber to the same event with the same
 * selection.
 *
 * A shared event is the same object for all of them; a selection is the document, the operation's name and the
 * variables that the payload depends on. Other arguments of a subscriber (room, ids, position) only chose the events.
 * A payload that may not be shared (src/execution/shareable.ts) is executed for its subscriber alone.
 */
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute as executeAlone,
  Kind,
  visit,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import type { ChangeEvent, ChangeOutlet, ChangeStream, PayloadOutlet } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Execute } from './kept-texts.ts'
import { NO_CALLER } from './shareable.ts'
import { valuesOf } from './variable-values.ts'

/**
 * Executes a subscription: one payload per event, or errors if it cannot begin.
 *
 * @param outlet - if given, shared payloads go there, and the generator yields only the rest, and the end
 */
export type Subscribe = (
  args: ExecutionArgs,
  outlet: PayloadOutlet | null,
) => Promise<AsyncGenerator<ExecutionResult, void, void> | ExecutionResult>

export interface SelectionsOptions {
  /** Executes the payloads that are shared. */
  readonly execute: Execute
  /** Whether an operation's payloads are the same for every caller. */
  readonly isShareable: (args: Pick<ExecutionArgs, 'document' | 'operationName'>) => boolean
  /** Writes a result as JSON, the form that outlets take. */
  readonly write: (result: ExecutionResult) => string
}

export function createSelections({ execute, isShareable, write }: SelectionsOptions): Subscribe {
  /** By document, which is parsed once for all who send the same text. */
  const selections = new WeakMap<DocumentNode, Map<string, Selection>>()

  function selectionOf(args: ExecutionArgs): Selection {
    let ofDocument = selections.get(args.document)
    if (ofDocument === undefined) {
      ofDocument = new Map()
      selections.set(args.document, ofDocument)
    }
    const key = keyOf(args)
    const selection = ofDocument.get(key) ?? createSelection(args, { execute, write }, () => ofDocument.delete(key))
    ofDocument.set(key, selection)
    return selection
  }

  return async function subscribe(args, outlet) {
    const source = await createSourceEventStream(args)
    if (!isAsyncIterable(source)) return source
    if (!isShareable(args)) return new OwnResults(source[Symbol.asyncIterator](), args)
    const selection = selectionOf(args)
    return outlet !== null && flows(source)
      ? new FlowingResults(source, selection, outlet)
      : new SharedResults(source[Symbol.asyncIterator](), selection)
  }
}

const positions = new WeakMap<ExecutionResult, Position>()

/** @returns where the change that a result tells of stands in the log; null if it tells of none */
export function positionOf(result: ExecutionResult): Position | null {
  return positions.get(result) ?? null
}

/** @returns the result, whose position is known from now on */
function placed(result: ExecutionResult, event: unknown): ExecutionResult {
  if (typeof event === 'object' && event !== null && 'position' in event) {
    positions.set(result, (event as ChangeEvent).position)
  }
  return result
}

/** Payloads that a selection remembers: the members of a crowd that comes back have missed mostly the same. */
const MAX_PAYLOADS = 64

/** A selection that has subscribers. */
interface Selection {
  resultOf(event: object): ExecutionResult
  payloadOf(event: object): string
  addUser(): void
  removeUser(): void
}

/** @param onUnused - called when the selection has no subscribers left */
function createSelection(
  { schema, document, operationName, variableValues }: ExecutionArgs,
  { execute, write }: Pick<SelectionsOptions, 'execute' | 'write'>,
  onUnused: () => void,
): Selection {
  const part = payloadPartOf(document)
  const args = {
    schema,
    document: part.document,
    operationName,
    variableValues: Object.fromEntries(valuesOf(part.names, variableValues)),
    // Nothing of the first subscriber is kept, not even its caller.
    contextValue: NO_CALLER,
  }
  const results = new LRUCache<object, ExecutionResult>({ max: MAX_PAYLOADS })
  /** Readers that are behind need only the last few. A text for each event in the hub would be 300 KB a selection. */
  const payloads = new LRUCache<object, string>({ max: MAX_PAYLOADS })
  // An event goes to all subscribers that it concerns before the next one comes.
  let lastEvent: object | null = null
  let lastPayload = ''
  let userCount = 0

  function executed(event: object): ExecutionResult {
    const result = execute({ ...args, rootValue: event })
    if ('then' in result) throw new Error('A field that is shared has to answer at once.')
    return result
  }

  return {
    resultOf(event) {
      let result = results.get(event)
      if (result === undefined) {
        result = placed(executed(event), event)
        results.set(event, result)
      }
      return result
    },

    payloadOf(event) {
      if (event === lastEvent) return lastPayload
      let payload = payloads.get(event)
      if (payload === undefined) {
        payload = write(executed(event))
        payloads.set(event, payload)
      }
      lastEvent = event
      lastPayload = payload
      return payload
    },

    addUser() {
      userCount += 1
    },

    removeUser() {
      userCount -= 1
      if (userCount === 0) onUnused()
    },
  }
}

const OVER = { value: undefined, done: true } as const

/** Classes, because a node has tens of thousands of them. */
abstract class Results implements AsyncGenerator<ExecutionResult, void, void> {
  abstract next(): Promise<IteratorResult<ExecutionResult, void>>

  /** Releases what it holds. May be called twice. */
  protected abstract end(): unknown

  async return(): Promise<IteratorReturnResult<void>> {
    await this.end()
    return OVER
  }

  async throw(error: unknown): Promise<never> {
    await this.end()
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

/** Executed for its subscriber alone. */
class OwnResults extends Results {
  readonly #events: AsyncIterator<unknown>
  readonly #args: ExecutionArgs

  constructor(events: AsyncIterator<unknown>, args: ExecutionArgs) {
    super()
    this.#events = events
    this.#args = args
  }

  async next(): Promise<IteratorResult<ExecutionResult, void>> {
    const { value, done } = await this.#events.next()
    if (done) return OVER
    return { value: placed(await executeAlone({ ...this.#args, rootValue: value }), value), done: false }
  }

  protected end(): unknown {
    return this.#events.return?.()
  }
}

/** Executed once for all subscribers, and read by each. */
class SharedResults extends Results {
  readonly #events: AsyncIterator<unknown>
  #selection: Selection | null

  constructor(events: AsyncIterator<unknown>, selection: Selection) {
    super()
    this.#events = events
    this.#selection = selection
    selection.addUser()
  }

  async next(): Promise<IteratorResult<ExecutionResult, void>> {
    try {
      const { value, done } = await this.#events.next()
      if (!done && this.#selection !== null) return { value: this.#selection.resultOf(value as object), done: false }
    } catch (error) {
      // A reader that gets an error does not call `return`.
      this.#release()
      throw error
    }
    this.#release()
    return OVER
  }

  protected end(): unknown {
    this.#release()
    return this.#events.return?.()
  }

  #release(): void {
    this.#selection?.removeUser()
    this.#selection = null
  }
}

/** Executed and written once for all, and put into each subscriber's outlet: the generator yields only the end. */
class FlowingResults extends Results implements ChangeOutlet {
  readonly #stream: ChangeStream
  readonly #selection: Selection
  readonly #outlet: PayloadOutlet
  #isOver = false

  constructor(stream: ChangeStream, selection: Selection, outlet: PayloadOutlet) {
    super()
    this.#stream = stream
    this.#selection = selection
    this.#outlet = outlet
    selection.addUser()
  }

  async next(): Promise<IteratorReturnResult<void>> {
    try {
      await this.#stream.flowInto(this)
      return OVER
    } finally {
      this.#release()
    }
  }

  isFull(): boolean {
    return this.#outlet.isFull()
  }

  write(event: ChangeEvent): void {
    this.#outlet.write(this.#selection.payloadOf(event))
  }

  onceDrained(resume: () => void): void {
    this.#outlet.onceDrained(resume)
  }

  protected end(): unknown {
    this.#release()
    return this.#stream.return()
  }

  #release(): void {
    if (!this.#isOver) this.#selection.removeUser()
    this.#isOver = true
  }
}

/** The key under which subscribers to the same document share a selection. */
function keyOf({ document, operationName, variableValues }: ExecutionArgs): string {
  return JSON.stringify([operationName ?? null, valuesOf(payloadPartOf(document).names, variableValues)])
}

/** A document without the parts that only chose the events. */
interface PayloadPart {
  readonly document: DocumentNode
  /** The variables that the document still has. */
  readonly names: readonly string[]
}

const payloadParts = new WeakMap<DocumentNode, PayloadPart>()

function payloadPartOf(document: DocumentNode): PayloadPart {
  let part = payloadParts.get(document)
  if (part === undefined) {
    part = cutPayloadPart(document)
    payloadParts.set(document, part)
  }
  return part
}

/** Removes the arguments of the subscription's root field, and the variables that are used nowhere else. */
function cutPayloadPart(document: DocumentNode): PayloadPart {
  const rootFields = new Set<unknown>(
    document.definitions.flatMap((definition) =>
      definition.kind === Kind.OPERATION_DEFINITION ? definition.selectionSet.selections : [],
    ),
  )
  const withoutArguments = visit(document, {
    Field: (node) => (rootFields.has(node) ? { ...node, arguments: [] } : undefined),
  })
  const names = new Set<string>()
  visit(withoutArguments, { VariableDefinition: () => false, Variable: (node) => void names.add(node.name.value) })
  return {
    document: visit(withoutArguments, {
      VariableDefinition: (node) => (names.has(node.variable.name.value) ? undefined : null),
    }),
    names: [...names].sort(),
  }
}

function flows(source: AsyncIterable<unknown>): source is ChangeStream {
  return 'flowInto' in source
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
