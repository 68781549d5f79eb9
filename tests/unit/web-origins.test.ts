import { describe, expect, it } from 'vitest'
import { parseOrigin, parseOriginPattern } from '../../src/web-origins.ts'

const matches = (setting: string, origin: string): boolean => {
  const sent = parseOrigin(origin)
  return sent !== null && parseOriginPattern(setting)(sent)
}

describe('an origin of the setting', () => {
  it.each([
    ['https://app.example.com', 'https://app.example.com'],
    ['https://app.example.com/', 'https://app.example.com'],
    ['https://app.example.com:443', 'https://app.example.com'],
    ['http://app.example.com:80/', 'http://app.example.com'],
    ['HTTPS://App.Example.COM', 'https://app.example.com'],
    ['https://app.example.com', 'https://app.example.com:443'],
    ['https://app.example.com:8443', 'https://app.example.com:8443'],
    ['https://bücher.example', 'https://xn--bcher-kva.example'],
    ['http://[::1]:3000', 'http://[::1]:3000'],
    ['https://*.example.com', 'https://app.example.com'],
    ['https://*.Example.com:443/', 'https://app.example.com'],
    ['https://app-*.example.com', 'https://app-17.example.com'],
    ['https://*-team.example.com', 'https://pr-17-team.example.com'],
    ['https://app-*-team.example.com', 'https://app-17-team.example.com'],
    ['http://*.localhost:3000', 'http://app.localhost:3000'],
    ['capacitor://localhost', 'capacitor://localhost'],
    ['Capacitor://LOCALHOST/', 'capacitor://localhost'],
    ['tauri://localhost', 'tauri://localhost'],
    ['ionic://localhost:8100', 'ionic://localhost:8100'],
    ['chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'chrome-extension://abcdefghijklmnopabcdefghijklmnop'],
    ['moz-extension://6a1f2c3d-0000-4000-8000-000000000000', 'moz-extension://6a1f2c3d-0000-4000-8000-000000000000'],
    ['app://-', 'app://-'],
    ['null', 'null'],
  ])('%s allows %s', (setting, origin) => {
    expect(matches(setting, origin)).toBe(true)
  })

  it.each([
    ['https://app.example.com', 'http://app.example.com'],
    ['https://app.example.com', 'https://app.example.com:8443'],
    ['https://app.example.com', 'https://app.example.com.evil.example'],
    ['https://app.example.com', 'https://example.com'],
    ['https://app.example.com', 'null'],
    ['https://*.example.com', 'https://example.com'],
    ['https://*.example.com', 'https://a.b.example.com'],
    ['https://*.example.com', 'http://app.example.com'],
    ['https://*.example.com', 'https://app.example.com:8443'],
    ['https://*.example.com', 'https://app.example.com.evil.example'],
    ['https://*.example.com', 'https://appexample.com'],
    ['https://*.example.com', 'app://app.example.com'],
    ['https://*.example.com', 'null'],
    ['https://app-*.example.com', 'https://app-.example.com'],
    ['https://app-*-team.example.com', 'https://app-team.example.com'],
    ['capacitor://localhost', 'tauri://localhost'],
    ['capacitor://localhost', 'capacitor://localhost:8100'],
    ['capacitor://localhost', 'https://localhost'],
    ['capacitor://localhost', 'null'],
    ['null', 'capacitor://localhost'],
    ['null', 'chrome-extension://abcdefghijklmnopabcdefghijklmnop'],
    ['null', 'https://app.example.com'],
    ['null', 'no origin'],
  ])('%s does not allow %s', (setting, origin) => {
    expect(matches(setting, origin)).toBe(false)
  })

  it.each([
    ['*', 'it would allow every page there is'],
    ['app.example.com', 'it has no scheme: `https://app.example.com`'],
    ['localhost:3000', 'it has no scheme'],
    ['*.example.com', 'it has no scheme: `https://*.example.com`'],
    ['https://', 'no page has it'],
    ['https:///app', 'no page has it'],
    ['https://app example.com', 'no page has it'],
    ['http://localhost:*', 'no page has it'],
    ['https://app.example.com/app', 'an origin has no path'],
    ['https://app.example.com?', 'an origin has no path'],
    ['https://app.example.com#top', 'an origin has no path'],
    ['capacitor://localhost/app', 'an origin has no path'],
    ['https://me:secret@app.example.com', 'an origin has no user and no password'],
    ['wss://app.example.com', "it is the page's address that counts"],
    ['file://app', 'the origin of pages from files is `null`'],
    ['file:///app', 'no page has it'],
    ['https://*', 'a `*` must stand before a domain of two labels'],
    ['https://*.com', 'a `*` must stand before a domain of two labels'],
    ['https://app.*.com', "only the host's first label may have a `*`"],
    ['https://*.*.example.com', "only the host's first label may have a `*`"],
    ['https://*-*.example.com', "only the host's first label may have a `*`, and one"],
    ['chrome-extension://*', 'only `http` and `https` may have a `*`'],
  ])('%s is refused', (setting, reason) => {
    expect(() => parseOriginPattern(setting)).toThrow(reason)
    expect(() => parseOriginPattern(setting)).toThrow(`not \`${setting}\``)
  })
})
