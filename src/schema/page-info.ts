import { builder } from './builder.ts'

export interface PageInfo {
  readonly hasNextPage: boolean
  /** Null on an empty page. */
  readonly startCursor: string | null
  readonly endCursor: string | null
}

export const PageInfoType = builder.objectRef<PageInfo>('PageInfo').implement({
  description: 'Where a page stands, as the Relay specification has it.',
  fields: (t) => ({
    hasNextPage: t.exposeBoolean('hasNextPage', { nullable: false, description: 'Whether more follow.' }),
    hasPreviousPage: t.boolean({
      nullable: false,
      description: 'Always false: pages are read forwards.',
      resolve: () => false,
    }),
    startCursor: t.exposeString('startCursor', { nullable: true, description: 'The cursor of the first edge.' }),
    endCursor: t.exposeString('endCursor', { nullable: true, description: 'What the next page takes as `after`.' }),
  }),
})

/** @param cursors - of the edges of the page, in order */
export function pageInfoOf(hasNextPage: boolean, cursors: readonly string[]): PageInfo {
  return { hasNextPage, startCursor: cursors[0] ?? null, endCursor: cursors.at(-1) ?? null }
}
