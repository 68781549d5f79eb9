/** One client: its wire, and what it asked and waits for. */
import type { Change } from '../peers/presence.ts'
import type { Ask, Credentials, Dialect } from './dialect.ts'
import { openWire } from './wire.ts'

export interface Connection {
  readonly userId: string
  /** Asks, and resolves with the answer. */
  ask(ask: Ask): Promise<void>
  /** Ends it without a word. */
  end(): void
}

export interface ConnectOptions {
  readonly url: string
  readonly dialect: Dialect
  readonly credentials: Credentials
  readonly localAddress: string
  /** @param bytes - of the message that it came in */
  readonly onChange: (change: Change, bytes: number) => void
  /** It was closed, or told something that no client of this protocol expects. */
  readonly onFault: (fault: string) => void
}

/** Resolves when the server has acknowledged who it is. */
export function connect(options: ConnectOptions): Promise<Connection> {
  const { url, dialect, credentials, localAddress, onChange, onFault } = options
  const speaker = dialect.speaker(credentials)
  const answers = new Map<string, () => void>()

  return new Promise((resolve, reject) => {
    const connection: Connection = {
      userId: credentials.userId,
      end: () => wire.close(),

      ask(ask) {
        const { texts, answeredBy } = speaker.say(ask)
        for (const text of texts) wire.send(text)
        return new Promise((answered) => {
          answers.set(answeredBy, answered)
        })
      },
    }

    function fail(fault: string): void {
      reject(new Error(fault))
      onFault(fault)
    }

    const wire = openWire({
      url: new URL(dialect.path, url),
      subprotocol: dialect.subprotocol,
      localAddress,

      onOpen() {
        if (speaker.hello !== null) wire.send(speaker.hello)
      },

      onText(text, bytes) {
        const heard = speaker.hear(text)
        switch (heard.kind) {
          case 'change':
            return onChange(heard.change, bytes)
          case 'answer': {
            const answered = answers.get(heard.id)
            answers.delete(heard.id)
            return answered?.()
          }
          case 'reply':
            return wire.send(heard.text)
          case 'welcome':
            return resolve(connection)
          case 'refusal':
            return fail(`The server said ${heard.text.slice(0, 300)}`)
          case 'nothing':
        }
      },

      onFault: fail,
    })
  })
}
