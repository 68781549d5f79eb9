/** What the cases ask of a browser, whichever engine it has. */
export interface Engine {
  /** With its version, as it says itself. */
  readonly name: string
  /** How it does what no browser has a common way for, in words. */
  readonly ways: {
    readonly duplicate: string
    readonly freeze: string
    /** How its pages' storage is blocked. Null: it has no setting that does so. */
    readonly blockStorage: string | null
    /** What its consoles are read by. Null: by nothing. */
    readonly console: string | null
    /** Null: it has none. */
    readonly offline: string | null
  }
  /** What the consoles of its pages have had as errors, the oldest first. */
  readonly complaints: readonly string[]
  /** Opens a tab in front of the others, or behind them. */
  open(url: string, options?: { readonly inBackground?: boolean }): Promise<EngineTab>
  close(): Promise<void>
}

export interface EngineOptions {
  /** As the person's own settings block what sites store. */
  readonly blocksStorage?: boolean
}

export interface EngineTab {
  /** @param script - an expression; what it gives has to be JSON */
  evaluate<Value>(script: string): Promise<Value>
  reload(): Promise<void>
  /** Closes the tab as the person does by its cross. */
  close(): Promise<void>
  /** Brings the tab to the front. */
  show(): Promise<void>
  duplicate(): Promise<EngineTab>
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** Stops the process that runs the page, as the sleep of a machine does: no script of it is told. */
  suspend(): Promise<void>
  resume(): Promise<void>
  /** The browser's own switch, which tells the page by its events; null where it has none that a driver can use. */
  readonly setOffline: ((isOffline: boolean) => Promise<void>) | null
}

export function followLink(tab: EngineTab, url: string): Promise<void> {
  return tab.evaluate(`void Object.assign(document.createElement('a'), { href: ${JSON.stringify(url)} }).click()`)
}

/** The page may be gone before it can answer. */
export async function goBack(tab: EngineTab): Promise<void> {
  await tab.evaluate('void setTimeout(() => history.back(), 0)')
}

/** A frozen page, or a tab that is just going, may never answer: then the caller looks again. */
const ANSWER_WITHIN_MS = 30_000

export async function inTime<Answer>(
  answer: Promise<Answer>,
  what: string,
  withinMs = ANSWER_WITHIN_MS,
): Promise<Answer> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${withinMs} ms.`)), withinMs)
  })
  return Promise.race([answer, late]).finally(() => clearTimeout(timer))
}
