/** The executable schema. Each import declares its types and fields on the builder. */
import { builder } from './builder.ts'
import './user.ts'
import './viewer.ts'
import './online-users.ts'
import './heartbeat.ts'
import './rooms.ts'
import './settings.ts'
import './service.ts'
import './history.ts'
import './changes.ts'

export const schema = builder.toSchema()
