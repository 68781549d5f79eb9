import { goOffline } from '../resolvers/go-offline.ts'
import { setStatus, setVisibility } from '../resolvers/settings.ts'
import { payloadViewer, type ViewerPayload } from '../resolvers/viewer.ts'
import { builder, COST } from './builder.ts'
import { StatusChoiceEnum, VisibilityEnum } from './enums.ts'
import { SESSION_ID, ViewerType } from './viewer.ts'

const SetStatusPayload = viewerPayload('SetStatusPayload', 'What choosing a status did.')
const SetVisibilityPayload = viewerPayload('SetVisibilityPayload', 'What hiding or coming back did.')
const GoOfflinePayload = viewerPayload('GoOfflinePayload', 'Result of `goOffline`.')

builder.mutationFields((t) => ({
  setStatus: t.field({
    type: SetStatusPayload,
    nullable: false,
    description: 'Chooses the status that others see while the user is online, on all devices.',
    complexity: { field: COST.settingsWrite },
    args: {
      status: t.arg({ type: StatusChoiceEnum, required: true, description: 'The choice.' }),
      message: t.arg.string({
        description: 'A message beside it, at most 140 characters. Null clears it, left out it stays.',
      }),
    },
    resolve: setStatus,
  }),
  setVisibility: t.field({
    type: SetVisibilityPayload,
    nullable: false,
    description: 'Hides the user from everyone else, or shows them again. Hiding is a `LEAVE`, coming back a `JOIN`.',
    complexity: { field: COST.settingsWrite },
    args: {
      visibility: t.arg({ type: VisibilityEnum, required: true, description: 'Who may see them.' }),
      hideLastActive: t.arg.boolean({
        description:
          'Whether others see no `lastActive` and no `lastSeen`. Left out, it stays. While the user is hidden, a change of it waits until they are seen again.',
      }),
    },
    resolve: setVisibility,
  }),
  goOffline: t.field({
    type: GoOfflinePayload,
    nullable: false,
    description:
      'Ends a session at once, without a grace. Its socket may stay, and starts it again only with an active heartbeat, on it or over HTTP. One that is named and over stays so; `NOT_FOUND` where none is named and there is no `default`.',
    complexity: { field: COST.change },
    args: {
      sessionId: t.arg.id({ description: SESSION_ID }),
      everywhere: t.arg.boolean({ defaultValue: false, description: 'True: all of your sessions.' }),
    },
    resolve: goOffline,
  }),
}))

function viewerPayload(name: string, description: string) {
  return builder.objectRef<ViewerPayload>(name).implement({
    description,
    fields: (t) => ({
      viewer: t.field({
        type: ViewerType,
        nullable: false,
        description: 'The signed-in user after it.',
        resolve: payloadViewer,
      }),
    }),
  })
}
