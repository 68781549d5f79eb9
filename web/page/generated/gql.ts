/* eslint-disable */
import * as types from './graphql.ts';
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';

/**
 * Map of all GraphQL operations in the project.
 *
 * This map has several performance disadvantages:
 * 1. It is not tree-shakeable, so it will include all operations in the project.
 * 2. It is not minifiable, so the string of a GraphQL query will be multiple times inside the bundle.
 * 3. It does not support dead code elimination, so it will add unused operations.
 *
 * Therefore it is highly recommended to use the babel or swc plugin for production.
 * Learn more about it here: https://the-guild.dev/graphql/codegen/plugins/presets/preset-client#reducing-bundle-size
 */
type Documents = {
    "\n  fragment OnlineUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n": typeof types.OnlineUserFragmentDoc,
    "\n  fragment OwnViewer on Viewer {\n    isOnline\n    status\n    statusChoice\n    statusMessage\n    visibility\n    user {\n      id\n      name\n    }\n    sessions {\n      id\n      device\n      isCurrent\n    }\n  }\n": typeof types.OwnViewerFragmentDoc,
    "\n  query OnlineUsers($room: ID, $first: Int, $after: String) {\n    onlineUsers(room: $room, first: $first, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...OnlineUser\n      }\n    }\n  }\n": typeof types.OnlineUsersDocument,
    "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      at\n      user {\n        ...OnlineUser\n      }\n    }\n  }\n": typeof types.PresenceChangedDocument,
    "\n  subscription PositionAdvanced {\n    positionAdvanced\n  }\n": typeof types.PositionAdvancedDocument,
    "\n  query Me {\n    viewer {\n      ...OwnViewer\n    }\n  }\n": typeof types.MeDocument,
    "\n  subscription MeChanged {\n    viewerChanged {\n      ...OwnViewer\n    }\n  }\n": typeof types.MeChangedDocument,
    "\n  mutation Beat($active: Boolean, $device: String, $rooms: [ID!]) {\n    heartbeat(active: $active, device: $device, rooms: $rooms) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": typeof types.BeatDocument,
    "\n  mutation ChooseStatus($status: StatusChoice!, $message: String) {\n    setStatus(status: $status, message: $message) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": typeof types.ChooseStatusDocument,
    "\n  mutation ChooseVisibility($visibility: Visibility!) {\n    setVisibility(visibility: $visibility) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": typeof types.ChooseVisibilityDocument,
    "\n  mutation GoOffline {\n    goOffline {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": typeof types.GoOfflineDocument,
};
const documents: Documents = {
    "\n  fragment OnlineUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n": types.OnlineUserFragmentDoc,
    "\n  fragment OwnViewer on Viewer {\n    isOnline\n    status\n    statusChoice\n    statusMessage\n    visibility\n    user {\n      id\n      name\n    }\n    sessions {\n      id\n      device\n      isCurrent\n    }\n  }\n": types.OwnViewerFragmentDoc,
    "\n  query OnlineUsers($room: ID, $first: Int, $after: String) {\n    onlineUsers(room: $room, first: $first, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...OnlineUser\n      }\n    }\n  }\n": types.OnlineUsersDocument,
    "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      at\n      user {\n        ...OnlineUser\n      }\n    }\n  }\n": types.PresenceChangedDocument,
    "\n  subscription PositionAdvanced {\n    positionAdvanced\n  }\n": types.PositionAdvancedDocument,
    "\n  query Me {\n    viewer {\n      ...OwnViewer\n    }\n  }\n": types.MeDocument,
    "\n  subscription MeChanged {\n    viewerChanged {\n      ...OwnViewer\n    }\n  }\n": types.MeChangedDocument,
    "\n  mutation Beat($active: Boolean, $device: String, $rooms: [ID!]) {\n    heartbeat(active: $active, device: $device, rooms: $rooms) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": types.BeatDocument,
    "\n  mutation ChooseStatus($status: StatusChoice!, $message: String) {\n    setStatus(status: $status, message: $message) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": types.ChooseStatusDocument,
    "\n  mutation ChooseVisibility($visibility: Visibility!) {\n    setVisibility(visibility: $visibility) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": types.ChooseVisibilityDocument,
    "\n  mutation GoOffline {\n    goOffline {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n": types.GoOfflineDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 *
 *
 * @example
 * ```ts
 * const query = graphql(`query GetUser($id: ID!) { user(id: $id) { name } }`);
 * ```
 *
 * The query argument is unknown!
 * Please regenerate the types.
 */
export function graphql(source: string): unknown;

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  fragment OnlineUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n"): (typeof documents)["\n  fragment OnlineUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  fragment OwnViewer on Viewer {\n    isOnline\n    status\n    statusChoice\n    statusMessage\n    visibility\n    user {\n      id\n      name\n    }\n    sessions {\n      id\n      device\n      isCurrent\n    }\n  }\n"): (typeof documents)["\n  fragment OwnViewer on Viewer {\n    isOnline\n    status\n    statusChoice\n    statusMessage\n    visibility\n    user {\n      id\n      name\n    }\n    sessions {\n      id\n      device\n      isCurrent\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  query OnlineUsers($room: ID, $first: Int, $after: String) {\n    onlineUsers(room: $room, first: $first, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...OnlineUser\n      }\n    }\n  }\n"): (typeof documents)["\n  query OnlineUsers($room: ID, $first: Int, $after: String) {\n    onlineUsers(room: $room, first: $first, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...OnlineUser\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      at\n      user {\n        ...OnlineUser\n      }\n    }\n  }\n"): (typeof documents)["\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      at\n      user {\n        ...OnlineUser\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription PositionAdvanced {\n    positionAdvanced\n  }\n"): (typeof documents)["\n  subscription PositionAdvanced {\n    positionAdvanced\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  query Me {\n    viewer {\n      ...OwnViewer\n    }\n  }\n"): (typeof documents)["\n  query Me {\n    viewer {\n      ...OwnViewer\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription MeChanged {\n    viewerChanged {\n      ...OwnViewer\n    }\n  }\n"): (typeof documents)["\n  subscription MeChanged {\n    viewerChanged {\n      ...OwnViewer\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation Beat($active: Boolean, $device: String, $rooms: [ID!]) {\n    heartbeat(active: $active, device: $device, rooms: $rooms) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation Beat($active: Boolean, $device: String, $rooms: [ID!]) {\n    heartbeat(active: $active, device: $device, rooms: $rooms) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation ChooseStatus($status: StatusChoice!, $message: String) {\n    setStatus(status: $status, message: $message) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation ChooseStatus($status: StatusChoice!, $message: String) {\n    setStatus(status: $status, message: $message) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation ChooseVisibility($visibility: Visibility!) {\n    setVisibility(visibility: $visibility) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation ChooseVisibility($visibility: Visibility!) {\n    setVisibility(visibility: $visibility) {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation GoOffline {\n    goOffline {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation GoOffline {\n    goOffline {\n      viewer {\n        ...OwnViewer\n      }\n    }\n  }\n"];

export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}

export type DocumentType<TDocumentNode extends DocumentNode<any, any>> = TDocumentNode extends DocumentNode<  infer TType,  any>  ? TType  : never;