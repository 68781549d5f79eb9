/** Settings in two places, the one of which is a memory store and the other a table that loses answers. */
import { describe, expect, it } from 'vitest'
import type { SettingsChange } from '../../src/presence/directory.ts'
import { unavailable } from '../../src/presence/errors.ts'
import type { Settings } from '../../src/presence/model.ts'
import { hasSameSettings, newerSettings } from '../../src/presence/rules.ts'
import { createUserSettings, type UserSettingsOptions } from '../../src/presence/settings.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import { CALM, connect, HIDDEN, isOnline, seedOf, VISIBLE } from '../contract/presence-store/harness.ts'

const UNAVAILABLE = { code: 'UNAVAILABLE' }
const hide: SettingsChange = { visibility: 'NOBODY' }
const noRow = async (): Promise<void> => {}

function openWorld() {
  let nowMs = 0
  const memory = createMemoryStore({ timing: CALM, clock: () => ({ steadyMs: nowMs, wallMs: 1_000_000 + nowMs }) })
  const rows = new Map<string, Settings>()
  const faults = {
    /** The statement takes effect, and its answer does not come. */
    losesAnswer: false,
    /** The statement is still under way when its answer is given up. */
    isSlow: false,
    isStoreAway: false,
    /** Called before each write of the live store. */
    meanwhile: async (): Promise<void> => {},
  }
  let readCount = 0

  const directory: UserSettingsOptions['directory'] = {
    async setSettings(userId: string, change: SettingsChange, base: Settings | null): Promise<Settings | null> {
      if (faults.isSlow) throw unavailable('postgres', 'slow')
      const row = rows.get(userId)
      if (row === undefined) return null
      const kept = newerSettings(row, base) as Settings
      const isOfTwo = base !== null && base.version === row.version && !hasSameSettings(base, row)
      const isRaised = Object.keys(change).length > 0 || isOfTwo
      const written = { ...kept, ...change, version: kept.version + (isRaised ? 1 : 0) }
      rows.set(userId, written)
      if (faults.losesAnswer) throw unavailable('postgres', 'lost')
      return written
    },
    async settings(userIds: readonly string[]) {
      if (faults.losesAnswer) throw unavailable('postgres', 'lost')
      readCount += userIds.length
      return userIds.map((userId) => rows.get(userId) ?? null)
    },
  }

  const store: UserSettingsOptions['store'] = {
    async setUser(request) {
      if (request.settings !== undefined) await faults.meanwhile()
      if (faults.isStoreAway) throw unavailable('store', 'away')
      return memory.setUser(request)
    },
  }
  const settings = createUserSettings({ store, directory, monotonicMs: () => nowMs })
  return {
    settings,
    store: memory,
    rows,
    faults,
    readCount: () => readCount,
    pass(ms: number) {
      nowMs += ms
    },
    async enter(userId: string, row: Settings = VISIBLE) {
      rows.set(userId, row)
      await connect(memory, userId, { seed: seedOf(row) })
    },
  }
}

describe('a change of settings', () => {
  it('holds in both when it is answered', async () => {
    const { settings, store, rows, enter } = openWorld()
    await enter('alice')
    expect(await settings.change('alice', hide, noRow)).toBe(true)
    expect(rows.get('alice')).toEqual({ ...HIDDEN, version: 2 })
    expect(await store.setUser({ userId: 'alice' })).toEqual(rows.get('alice'))
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  it('builds on the live store where the row went back, and on the row where that is the newer one', async () => {
    const { settings, store, rows, enter } = openWorld()
    await enter('alice', { ...HIDDEN, version: 5, statusMessage: 'live' })
    rows.set('alice', { ...VISIBLE, version: 3 })
    await settings.change('alice', { statusChoice: 'BUSY' }, noRow)
    expect(rows.get('alice')).toEqual({ ...HIDDEN, version: 6, statusMessage: 'live', statusChoice: 'BUSY' })
    rows.set('alice', { ...HIDDEN, version: 9, statusMessage: 'row' })
    await settings.change('alice', { statusChoice: 'AWAY' }, noRow)
    expect(await store.setUser({ userId: 'alice' })).toMatchObject({ version: 10, statusMessage: 'row' })
  })

  it('is written again over what came in between', async () => {
    const { settings, store, rows, faults, enter } = openWorld()
    await enter('alice')
    faults.meanwhile = async () => {
      faults.meanwhile = async () => {}
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 7, statusChoice: 'BUSY' } })
    }
    await settings.change('alice', hide, noRow)
    expect(rows.get('alice')).toEqual({ ...HIDDEN, version: 8, statusChoice: 'BUSY' })
    expect(await store.setUser({ userId: 'alice' })).toEqual(rows.get('alice'))
  })

  it('says that it does not know where others come in between all the time, and is found out later', async () => {
    const { settings, store, rows, faults, enter } = openWorld()
    await enter('alice')
    let version = 10
    faults.meanwhile = async () => {
      version += 10
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version } })
    }
    await expect(settings.change('alice', hide, noRow)).rejects.toMatchObject(UNAVAILABLE)
    faults.meanwhile = async () => {}
    await settings.settle()
    expect(await store.setUser({ userId: 'alice' })).toEqual(rows.get('alice'))
  })

  it('makes the row of who has none, and is none for who gets none', async () => {
    const { settings, rows } = openWorld()
    expect(await settings.change('alice', hide, async () => void rows.set('alice', VISIBLE))).toBe(true)
    expect(rows.get('alice')).toMatchObject({ visibility: 'NOBODY' })
    expect(await settings.change('nobody', hide, noRow)).toBe(false)
  })
})

describe('a change that was not answered', () => {
  it('is brought to the live store when both are there, whichever of them was away', async () => {
    for (const fault of ['losesAnswer', 'isStoreAway'] as const) {
      const { settings, store, faults, enter } = openWorld()
      await enter('alice')
      if (fault === 'isStoreAway') {
        faults.meanwhile = async () => {
          faults.isStoreAway = true
        }
      } else faults.losesAnswer = true
      await expect(settings.change('alice', hide, noRow)).rejects.toMatchObject(UNAVAILABLE)
      await expect(settings.settle()).rejects.toMatchObject(UNAVAILABLE)
      expect(await isOnline(store, 'alice')).toBe(true)
      Object.assign(faults, { losesAnswer: false, isStoreAway: false, meanwhile: async () => {} })
      await settings.settle()
      expect(await isOnline(store, 'alice')).toBe(false)
    }
  })

  it('is looked for as long as its statement may be under way, and no longer', async () => {
    const { settings, store, rows, faults, readCount, pass, enter } = openWorld()
    await enter('alice')
    faults.isSlow = true
    await expect(settings.change('alice', hide, noRow)).rejects.toMatchObject(UNAVAILABLE)
    faults.isSlow = false
    await settings.settle()
    pass(20_000)
    await settings.settle()
    expect(await isOnline(store, 'alice')).toBe(true)
    rows.set('alice', { ...HIDDEN, version: 2 })
    pass(9000)
    await settings.settle()
    expect(await isOnline(store, 'alice')).toBe(false)
    pass(2000)
    await settings.settle()
    const lookedUp = readCount()
    await settings.settle()
    expect(readCount()).toBe(lookedUp)
  })

  it('is one of a bounded number, of which the oldest goes', async () => {
    const { settings, rows, readCount } = openWorld()
    const ids = Array.from({ length: 10_001 }, (_, index) => `user-${index}`)
    for (const id of ids) rows.set(id, VISIBLE)
    settings.doubt(ids)
    for (let round = 0; round < 40; round += 1) await settings.settle()
    expect(readCount()).toBe(10_000)
  })
})

describe('users whose row and live state may differ', () => {
  it('agree afterwards, whichever was the older one, and by the more private where nobody can tell', async () => {
    const { settings, store, rows, enter } = openWorld()
    await enter('ahead', { ...HIDDEN, version: 5 })
    await enter('behind', { ...VISIBLE, version: 5 })
    await enter('beside', { ...VISIBLE, version: 5, statusChoice: 'BUSY' })
    rows.set('ahead', { ...VISIBLE, version: 3 })
    rows.set('behind', { ...HIDDEN, version: 6 })
    rows.set('beside', { ...HIDDEN, version: 5, statusChoice: 'AWAY' })
    settings.doubt(['ahead', 'behind', 'beside', 'nobody'])
    await settings.settle()
    for (const userId of ['ahead', 'behind', 'beside']) {
      expect(rows.get(userId)).toMatchObject({ visibility: 'NOBODY' })
      expect(await store.setUser({ userId })).toEqual(rows.get(userId))
    }
    expect([...rows.values()].map(({ version }) => version)).toEqual([5, 6, 6])
  })
})
