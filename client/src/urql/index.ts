export { type PresenceExchangeOptions, presenceExchange, sessionFetchOptions } from './exchange.ts'
export { graphcache } from './graphcache.ts'
