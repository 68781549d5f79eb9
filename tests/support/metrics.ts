import type { TestServer } from './server.ts'

/** @param name - of a metric without labels; @returns NaN where the server has none of that name */
export async function metricOf({ url }: Pick<TestServer, 'url'>, name: string): Promise<number> {
  const page = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(page)?.[1])
}
