/** Requests over connections that stay open, as a front end's server or a browser sends them. */
import { Agent, request } from 'node:http'
import type { Herd } from './servers.ts'

export interface Asked {
  readonly query: string
  readonly connections: number
  readonly requests: number
}

/** @returns how many answers came */
export async function askOverHttp({ url, token }: Herd, { query, connections, requests }: Asked): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const authorization = `Bearer ${await token(0)}`
  let left = requests
  async function askInTurn(): Promise<void> {
    while (left > 0) {
      left -= 1
      await ask(agent, `${url}/graphql`, authorization, JSON.stringify({ query }))
    }
  }
  await Promise.all(Array.from({ length: connections }, askInTurn))
  agent.destroy()
  return requests
}

export function ask(agent: Agent, url: string, authorization: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { authorization, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const asked = request(url, { method: 'POST', agent, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        if (response.statusCode === 200 && !text.includes('"errors"')) resolve(text)
        else reject(new Error(`${response.statusCode}: ${text}`))
      })
    })
    asked.on('error', reject)
    asked.end(body)
  })
}
