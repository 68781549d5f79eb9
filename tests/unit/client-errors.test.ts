import { GraphQLError } from 'graphql'
import { describe, expect, it } from 'vitest'
import { databaseFailure } from '../../src/db/failures.ts'
import { createErrorMask } from '../../src/execution/client-errors.ts'
import { badRequest, ERROR_CODES, isErrorCode, PresenceError, unavailable } from '../../src/presence/errors.ts'
import { createReadLog } from '../support/log.ts'

describe('what a client gets to see of an error', () => {
  it('has a code of the table, whatever was thrown', () => {
    const mask = createErrorMask(createReadLog().log)
    const thrown: readonly unknown[] = [
      ...Object.keys(ERROR_CODES).map((code) => new GraphQLError('x', { extensions: { code } })),
      ...['INTERNAL_SERVER_ERROR', 'OPERATION_RESOLUTION_FAILURE', 'toString', '__proto__', '', 1, null].map(
        (code) => new GraphQLError('x', { extensions: { code } }),
      ),
      new GraphQLError('x'),
      new GraphQLError('x', { originalError: new Error('y') }),
      new GraphQLError('x', { originalError: badRequest('y') }),
      new Error('x'),
      badRequest('x'),
      'x',
      null,
      undefined,
      { toString: null },
    ]
    for (const error of thrown) expect(mask(error).extensions.code).toSatisfy(isErrorCode)
  })

  it('has nothing of its cause, which the log has', () => {
    const { log, lines } = createReadLog()
    const mask = createErrorMask(log)
    const cause = new Error('connect ECONNREFUSED 10.1.2.3:5432')
    const refused = Object.assign(new Error(cause.message), { code: 'ECONNREFUSED' })
    for (const error of [
      databaseFailure(refused),
      cause,
      unavailable('postgres', 'The database is out of reach just now.', { cause }),
      new PresenceError('INTERNAL', 'x', {}, { cause }),
      new GraphQLError('x', { originalError: cause }),
    ]) {
      expect(JSON.stringify(mask(error))).not.toMatch(/ECONN|10\.1/)
    }
    expect(lines.filter((line) => line.includes('ECONNREFUSED'))).toHaveLength(2)
  })
})
