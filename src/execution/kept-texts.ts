/**
 * Executes documents, and keeps the JSON of objects that never change.
 *
 * A field of a type that declares `isImmutable` is *cut*: the document is executed without what lies below it. What its
 * resolver returns, an object or a list of them, is put together from texts. graphql-js makes each text once, for an
 * object and a selection, and the text serves every answer and every change that has an equal object. So a page of 1,000
 * users costs 1,000 lookups. Objects with the same `id` are versions of one thing, and only the last one's texts are kept.
 *
 * Whatever this cannot do exactly as graphql-js does it (an error below a cut field, a directive of the app's own) is
 * executed whole by graphql-js.
 */
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLFieldResolver,
  type GraphQLObjectType,
  type GraphQLResolveInfo,
  GraphQLSchema,
  getOperationAST,
  OperationTypeNode,
  print,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { type CutDocument, type CutField, cutDocument, documentOf } from './cut-document.ts'
import { type CutType, createCutSchema } from './cut-schema.ts'
import { JsonText, latin1 } from './json.ts'
import { NO_CALLER } from './shareable.ts'
import { valuesOf } from './variable-values.ts'

/** All texts together, and what the cache takes for each: some 100,000 users with four fields. */
const MAX_TEXT_CHARACTERS = 32 * 1024 * 1024
const ENTRY_CHARACTERS = 150
/** All lists together: some 150 pages of 1,000. */
const MAX_LIST_BYTES = 32 * 1024 * 1024
/** Apps have a few dozen, each with few values of its variables. */
const MAX_SELECTIONS = 500
const MAX_SELECTIONS_PER_DOCUMENT = 64
/** Of one object. A client that invents selections makes the others begin again, and no request costs more for it. */
const MAX_TEXTS_PER_OBJECT = 32

/** Executes like `execute` of graphql-js, but where its data has an object that never changes it may have a `JsonText`. */
export type Execute = (args: ExecutionArgs) => Promise<ExecutionResult> | ExecutionResult

const written = new WeakSet<object>()

/** @returns whether the data of a result has a `JsonText`: then `stringify` (src/execution/json.ts) writes it faster */
export function hasText({ data }: ExecutionResult): boolean {
  return typeof data === 'object' && data !== null && written.has(data)
}

export function createKeptTexts(schema: GraphQLSchema): Execute {
  const documents = new WeakMap<DocumentNode, CutDocument | null>()
  const selectionsOfDocuments = new WeakMap<CutDocument, Map<string, Selection>>()
  const fields = new WeakMap<object, CutDocument>()
  const selections = new LRUCache<string, Selection>({ max: MAX_SELECTIONS })
  const versions: Versions = new LRUCache({
    maxSize: MAX_TEXT_CHARACTERS,
    sizeCalculation({ texts }) {
      let characters = 0
      for (const text of texts.values()) characters += text.length + ENTRY_CHARACTERS
      return characters
    },
  })
  const lists: Lists = new LRUCache({ maxSize: MAX_LIST_BYTES, sizeCalculation: ({ bytes }) => bytes.length })
  const roots = new Map<GraphQLObjectType, GraphQLSchema>()
  const cutSchema = createCutSchema(schema, textsOf)

  function cut(document: DocumentNode): CutDocument | null {
    let found = documents.get(document)
    if (found === undefined) {
      found = cutDocument(schema, document)
      documents.set(document, found)
      for (const node of found?.fields.keys() ?? []) fields.set(node, found as CutDocument)
    }
    return found
  }

  /** The selection of a cut field, whose nodes `info` has. The same one for equal selections of other documents. */
  function selectionOf(
    { fieldNodes, operation, variableValues }: GraphQLResolveInfo,
    type: GraphQLObjectType,
  ): Selection {
    const document = fields.get(fieldNodes[0] as object) as CutDocument
    const cutFields = fieldNodes.map((node) => document.fields.get(node) as CutField)
    const names = [...new Set(cutFields.flatMap(({ variables }) => variables))].sort()
    const values = valuesOf(names, variableValues)
    const key = JSON.stringify([cutFields.map(({ id }) => id), values])
    let known = selectionsOfDocuments.get(document)
    if (known === undefined) {
      known = new Map()
      selectionsOfDocuments.set(document, known)
    }
    let selection = known.get(key)
    if (selection === undefined) {
      const part = documentOf(cutFields, operation)
      const text = `${type.name} ${JSON.stringify(values)} ${print(part)}`
      selection = selections.get(text) ?? new Selection(rootOf(type), part, values, { versions, lists })
      selections.set(text, selection)
      if (known.size >= MAX_SELECTIONS_PER_DOCUMENT) known.clear()
      known.set(key, selection)
    }
    return selection
  }

  /** A schema in which a query begins at an object of this type. */
  function rootOf(type: GraphQLObjectType): GraphQLSchema {
    const root = roots.get(type) ?? new GraphQLSchema({ query: type, assumeValid: true })
    roots.set(type, root)
    return root
  }

  function textsOf(
    resolve: GraphQLFieldResolver<unknown, unknown>,
    type: CutType,
  ): GraphQLFieldResolver<unknown, unknown> {
    return (source, args, context, info) => {
      const value = resolve(source, args, context, info)
      const put = (found: unknown): unknown => textOf(found, type, selectionOf(info, type.object))
      return isThenable(value) ? value.then(put) : put(value)
    }
  }

  return function executeKept(args) {
    const operation = getOperationAST(args.document, args.operationName)?.operation
    // A mutation that has to be executed whole would be executed twice.
    const document = operation === OperationTypeNode.MUTATION ? null : cut(args.document)
    if (document === null) return execute(args)
    const found = execute({ ...args, schema: cutSchema, document: document.document })
    return isThenable(found) ? found.then((result) => checked(result, args)) : checked(found, args)
  }
}

function checked(result: ExecutionResult, args: ExecutionArgs): Promise<ExecutionResult> | ExecutionResult {
  if (result.errors?.some(({ originalError }) => originalError instanceof NotKept)) return execute(args)
  if (result.data) written.add(result.data)
  return result
}

interface Kept {
  readonly versions: Versions
  readonly lists: Lists
}

/** Of whole lists, from the second time on that they are read. */
type Lists = LRUCache<ReadList, JsonText>
/** Stands for a list that was read in a selection. */
type ReadList = object

/** The last version of each thing, by its id. */
type Versions = LRUCache<string, Version>

interface Version {
  object: object
  readonly texts: ReadonlyMap<Selection, string>
}

/** What is selected of an object that never changes. */
class Selection {
  readonly #schema: GraphQLSchema
  readonly #document: DocumentNode
  readonly #variableValues: ExecutionArgs['variableValues']
  readonly #versions: Versions
  readonly #lists: Lists
  /** The lists that were read before. */
  readonly #read = new WeakMap<readonly unknown[], ReadList>()

  constructor(
    schema: GraphQLSchema,
    document: DocumentNode,
    values: readonly (readonly [name: string, value: unknown])[],
    { versions, lists }: Kept,
  ) {
    this.#schema = schema
    this.#document = document
    this.#variableValues = Object.fromEntries(values)
    this.#versions = versions
    this.#lists = lists
  }

  /** @throws NotKept */
  textOf(object: unknown): string {
    if (typeof object !== 'object' || object === null || object instanceof Error || isThenable(object)) {
      throw new NotKept()
    }
    const { id } = object as { readonly id?: unknown }
    if (typeof id !== 'string') return this.#newTextOf(object)
    const last = this.#versions.get(id)
    const isSame = last !== undefined && (last.object === object || areEqual(last.object, object))
    const known = isSame ? last.texts.get(this) : undefined
    if (known !== undefined) {
      // The next look-up then compares no fields.
      ;(last as Version).object = object
      return known
    }
    const text = this.#newTextOf(object)
    const others = isSame && last.texts.size < MAX_TEXTS_PER_OBJECT ? last.texts : []
    this.#versions.set(id, { object, texts: new Map(others).set(this, text) })
    return text
  }

  #newTextOf(object: object): string {
    const result = execute({
      schema: this.#schema,
      document: this.#document,
      rootValue: object,
      variableValues: this.#variableValues,
      contextValue: NO_CALLER,
    })
    if (isThenable(result)) {
      result.then(undefined, () => {})
      throw new NotKept()
    }
    if (result.errors !== undefined || !result.data) throw new NotKept()
    return latin1(JSON.stringify(result.data))
  }

  /** @throws NotKept */
  textOfList(list: readonly unknown[], isItemNonNull: boolean): JsonText {
    const read = this.#read.get(list)
    const known = read && this.#lists.get(read)
    if (known) return known
    const items = list.map((item) => ((item ?? null) === null && !isItemNonNull ? 'null' : this.textOf(item)))
    const text = JsonText.ofList(items)
    // Most lists are read once: kept, they would only live until V8 looks at its whole heap.
    if (read) this.#lists.set(read, text)
    else this.#read.set(list, {})
    return text
  }
}

/** Something that only a whole execution answers right. */
class NotKept extends Error {}

/** Whether two versions say the same. */
function areEqual(one: object, other: object): boolean {
  const fields = Object.entries(one)
  const others = other as Readonly<Record<string, unknown>>
  return fields.length === Object.keys(other).length && fields.every(([name, value]) => others[name] === value)
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
}

function textOf(value: unknown, { isList, isItemNonNull }: CutType, selection: Selection): unknown {
  if (value === null || value === undefined || value instanceof Error) return value
  if (!isList) return new JsonText(selection.textOf(value))
  if (!Array.isArray(value)) throw new NotKept()
  return selection.textOfList(value, isItemNonNull)
}
