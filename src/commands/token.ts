/** `rollcall token`: prints a token signed with JWT_SECRET. */
import { SignJWT } from 'jose'
import { parseConfig, settingsOfEnvironment } from '../config.ts'
import { parseRoomPatterns, parseUserId } from '../presence/bounds.ts'
import { parseArguments, UsageError } from './command-line.ts'

const HELP = `Prints a token for a user, signed with JWT_SECRET: set it to what the server has.

Usage: rollcall token USER_ID [options]

  --name NAME         what others see
  --picture URL
  --rooms PATTERNS    rooms that the user may enter, with commas between: 'team:*,lobby'
  --only-rooms        the user sees others within these rooms only
  --role ROLE         member, or service for a program of yours; member if left out
  --lifetime TIME     how long the token is good; 1h if left out
`
const ROLES = ['member', 'service']

/** @throws UsageError, ConfigError, or PresenceError `BAD_USER_INPUT` */
export async function token(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      name: { type: 'string' },
      picture: { type: 'string' },
      rooms: { type: 'string' },
      'only-rooms': { type: 'boolean', default: false },
      role: { type: 'string', default: 'member' },
      lifetime: { type: 'string', default: '1h' },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return
  }
  const [userId, ...others] = positionals
  if (userId === undefined || others.length > 0) {
    throw new UsageError('A token is for one user: `rollcall token USER_ID`. See `rollcall token --help`.')
  }
  if (!ROLES.includes(values.role)) throw new UsageError(`--role must be member or service, not \`${values.role}\`.`)

  const config = parseConfig(settingsOfEnvironment())
  if (config.JWT_SECRET === null) throw new UsageError('JWT_SECRET must be set, to what the server has.')
  const unsigned = new SignJWT({
    [config.JWT_SUBJECT_CLAIM]: parseUserId('USER_ID', userId),
    ...(values.name === undefined ? {} : { [config.JWT_NAME_CLAIM]: values.name }),
    ...(values.picture === undefined ? {} : { [config.JWT_PICTURE_CLAIM]: values.picture }),
    [config.JWT_PRESENCE_CLAIM]: {
      ...(values.rooms === undefined ? {} : { rooms: parseRoomPatterns('--rooms', values.rooms.split(',')) }),
      everyone: !values['only-rooms'],
      role: values.role,
    },
  })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
  try {
    unsigned.setExpirationTime(values.lifetime)
  } catch (error) {
    throw new UsageError(`--lifetime must be a time like 30m, 1h or 7d, not \`${values.lifetime}\`.`, { cause: error })
  }
  if (config.JWT_ISSUER !== null) unsigned.setIssuer(config.JWT_ISSUER)
  if (config.JWT_AUDIENCE !== null) unsigned.setAudience(config.JWT_AUDIENCE)
  process.stdout.write(`${await unsigned.sign(new TextEncoder().encode(config.JWT_SECRET))}\n`)
}
