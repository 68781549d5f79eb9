import { getRollcall } from '../../../rollcall.ts'

export const dynamic = 'force-dynamic'

function answer(request: Request): Promise<Response> {
  return getRollcall().fetch(request)
}

export { answer as DELETE, answer as GET, answer as OPTIONS, answer as POST, answer as PUT }
