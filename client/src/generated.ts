/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
/** What a change means for a list of online users. */
export type PresenceChangeKind =
  /** Add the user: they came online, or into the room. */
  | 'JOIN'
  /** Remove the user: they went offline, or out of the room. */
  | 'LEAVE'
  /** Replace the user: they stay online, and a field that everyone sees changed. */
  | 'UPDATE';

/** What everyone sees of how present a user is. */
export type PresenceStatus =
  /** There, but not active for a while, or away by choice. */
  | 'AWAY'
  /** There, and does not want to be disturbed. */
  | 'BUSY'
  /** Not there, or not to be seen. */
  | 'OFFLINE'
  /** There, and active a moment ago. */
  | 'ONLINE';

/** What a user chose their status to be while they are online. */
export type StatusChoice =
  /** `ONLINE`, and `AWAY` after a while without activity. */
  | 'AUTOMATIC'
  /** Away, whatever they do. */
  | 'AWAY'
  /** Busy, whatever they do. */
  | 'BUSY';

/** Who may see that a user is online. */
export type Visibility =
  /** Every caller who may see users at all. */
  | 'EVERYONE'
  /** Nobody but the user: to all others they look offline. */
  | 'NOBODY';

export type RollcallUserFragment = { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null };

export type ViewerFieldsFragment = { isOnline: boolean, status: PresenceStatus, statusChoice: StatusChoice, statusMessage: string | null, visibility: Visibility, hideLastActive: boolean, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }, sessions: Array<{ id: string, device: string | null, rooms: Array<string>, startedAt: string, isCurrent: boolean }> };

export type OnlineUsersQueryVariables = Exact<{
  room?: string | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type OnlineUsersQuery = { onlineUsers: { position: string, pageInfo: { hasNextPage: boolean, endCursor: string | null }, nodes: Array<{ id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }> } };

export type UsersQueryVariables = Exact<{
  ids: Array<string> | string;
}>;


export type UsersQuery = { position: string, users: Array<{ id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null } | null> };

export type PresenceSubscriptionVariables = Exact<{
  room?: string | null | undefined;
  userIds?: Array<string> | string | null | undefined;
  after?: string | null | undefined;
}>;


export type PresenceSubscription = { presenceChanged: { kind: PresenceChangeKind, position: string, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null } } };

export type PositionSubscriptionVariables = Exact<{ [key: string]: never; }>;


export type PositionSubscription = { positionAdvanced: string };

export type OnlineCountSubscriptionVariables = Exact<{
  room?: string | null | undefined;
}>;


export type OnlineCountSubscription = { onlineCountChanged: { count: number } };

export type ViewerQueryVariables = Exact<{ [key: string]: never; }>;


export type ViewerQuery = { viewer: { isOnline: boolean, status: PresenceStatus, statusChoice: StatusChoice, statusMessage: string | null, visibility: Visibility, hideLastActive: boolean, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }, sessions: Array<{ id: string, device: string | null, rooms: Array<string>, startedAt: string, isCurrent: boolean }> } };

export type ViewerChangedSubscriptionVariables = Exact<{ [key: string]: never; }>;


export type ViewerChangedSubscription = { viewerChanged: { isOnline: boolean, status: PresenceStatus, statusChoice: StatusChoice, statusMessage: string | null, visibility: Visibility, hideLastActive: boolean, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }, sessions: Array<{ id: string, device: string | null, rooms: Array<string>, startedAt: string, isCurrent: boolean }> } };

export type HeartbeatMutationVariables = Exact<{
  active?: boolean | null | undefined;
  device?: string | null | undefined;
  rooms?: Array<string> | string | null | undefined;
}>;


export type HeartbeatMutation = { heartbeat: { session: { id: string } | null } };

export type JoinRoomMutationVariables = Exact<{
  room: string;
}>;


export type JoinRoomMutation = { joinRoom: { session: { id: string } } };

export type LeaveRoomMutationVariables = Exact<{
  room: string;
}>;


export type LeaveRoomMutation = { leaveRoom: { session: { id: string } } };

export type SetStatusMutationVariables = Exact<{
  status: StatusChoice;
  message?: string | null | undefined;
}>;


export type SetStatusMutation = { setStatus: { viewer: { isOnline: boolean, status: PresenceStatus, statusChoice: StatusChoice, statusMessage: string | null, visibility: Visibility, hideLastActive: boolean, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }, sessions: Array<{ id: string, device: string | null, rooms: Array<string>, startedAt: string, isCurrent: boolean }> } } };

export type SetVisibilityMutationVariables = Exact<{
  visibility: Visibility;
  hideLastActive?: boolean | null | undefined;
}>;


export type SetVisibilityMutation = { setVisibility: { viewer: { isOnline: boolean, status: PresenceStatus, statusChoice: StatusChoice, statusMessage: string | null, visibility: Visibility, hideLastActive: boolean, user: { id: string, name: string, avatarUrl: string | null, isOnline: boolean, status: PresenceStatus, statusMessage: string | null, onlineSince: string | null, lastActive: string | null, lastSeen: string | null }, sessions: Array<{ id: string, device: string | null, rooms: Array<string>, startedAt: string, isCurrent: boolean }> } } };

export type GoOfflineMutationVariables = Exact<{
  sessionId?: string | null | undefined;
}>;


export type GoOfflineMutation = { goOffline: { viewer: { id: string } } };

export type KeepMutationVariables = Exact<{
  sessionId?: string | null | undefined;
  active?: boolean | null | undefined;
  device?: string | null | undefined;
  rooms?: Array<string> | string | null | undefined;
}>;


export type KeepMutation = { heartbeat: { session: { id: string, rooms: Array<string>, startedAt: string } | null } };

export type OwnSessionsQueryVariables = Exact<{ [key: string]: never; }>;


export type OwnSessionsQuery = { viewer: { sessions: Array<{ id: string }> } };
