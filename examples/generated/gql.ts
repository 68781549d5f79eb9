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
    "\n  fragment ListedUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n": typeof types.ListedUserFragmentDoc,
    "\n  query OnlineUsers($room: ID, $after: String) {\n    onlineUsers(room: $room, first: 500, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...ListedUser\n      }\n    }\n  }\n": typeof types.OnlineUsersDocument,
    "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      user {\n        ...ListedUser\n      }\n    }\n  }\n": typeof types.PresenceChangedDocument,
};
const documents: Documents = {
    "\n  fragment ListedUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n": types.ListedUserFragmentDoc,
    "\n  query OnlineUsers($room: ID, $after: String) {\n    onlineUsers(room: $room, first: 500, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...ListedUser\n      }\n    }\n  }\n": types.OnlineUsersDocument,
    "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      user {\n        ...ListedUser\n      }\n    }\n  }\n": types.PresenceChangedDocument,
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
export function graphql(source: "\n  fragment ListedUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n"): (typeof documents)["\n  fragment ListedUser on User {\n    id\n    name\n    status\n    statusMessage\n    onlineSince\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  query OnlineUsers($room: ID, $after: String) {\n    onlineUsers(room: $room, first: 500, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...ListedUser\n      }\n    }\n  }\n"): (typeof documents)["\n  query OnlineUsers($room: ID, $after: String) {\n    onlineUsers(room: $room, first: 500, after: $after) {\n      position\n      pageInfo {\n        hasNextPage\n        endCursor\n      }\n      nodes {\n        ...ListedUser\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      user {\n        ...ListedUser\n      }\n    }\n  }\n"): (typeof documents)["\n  subscription PresenceChanged($room: ID, $after: String) {\n    presenceChanged(room: $room, after: $after) {\n      kind\n      position\n      user {\n        ...ListedUser\n      }\n    }\n  }\n"];

export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}

export type DocumentType<TDocumentNode extends DocumentNode<any, any>> = TDocumentNode extends DocumentNode<  infer TType,  any>  ? TType  : never;