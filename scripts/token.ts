/**
 * Prints a token signed with JWT_SECRET: `npm run token -- alice --name Alice --rooms 'team:*' --lifetime 1h`.
 */
import { parseArgs } from 'node:util'
import { SignJWT } from 'jose'
import { parseConfig, settingsOfEnvironment } from '../src/config.ts'
import { parseUserId } from '../src/presence/bounds.ts'

const USAGE = `usage: npm run token -- USER_ID [--name NAME] [--picture URL] [--rooms PATTERN,PATTERN]
                                [--only-rooms] [--role service] [--lifetime 1h]
JWT_SECRET must be set, to what the server has. --only-rooms: sees others within rooms only.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string' },
    picture: { type: 'string' },
    rooms: { type: 'string' },
    'only-rooms': { type: 'boolean', default: false },
    role: { type: 'string', default: 'member' },
    lifetime: { type: 'string', default: '1h' },
  },
})
const config = parseConfig(settingsOfEnvironment())
const [userId] = positionals

if (userId === undefined || config.JWT_SECRET === null || !['member', 'service'].includes(values.role)) {
  process.stderr.write(`${USAGE}\n`)
  process.exitCode = 1
} else {
  const token = new SignJWT({
    [config.JWT_SUBJECT_CLAIM]: parseUserId('USER_ID', userId),
    ...(values.name === undefined ? {} : { [config.JWT_NAME_CLAIM]: values.name }),
    ...(values.picture === undefined ? {} : { [config.JWT_PICTURE_CLAIM]: values.picture }),
    [config.JWT_PRESENCE_CLAIM]: {
      ...(values.rooms === undefined ? {} : { rooms: values.rooms.split(',') }),
      everyone: !values['only-rooms'],
      role: values.role,
    },
  })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime(values.lifetime)
  if (config.JWT_ISSUER !== null) token.setIssuer(config.JWT_ISSUER)
  if (config.JWT_AUDIENCE !== null) token.setAudience(config.JWT_AUDIENCE)
  process.stdout.write(`${await token.sign(new TextEncoder().encode(config.JWT_SECRET))}\n`)
}
