export { followPresence, type Where } from './follow.ts'
export { presenceLink, sessionLink } from './links.ts'
export { typePolicies } from './type-policies.ts'
