/** What the first tab holds: the three operations that Rollcall is about, ready to run. */
export const FIRST_HEADERS = `{
  "authorization": "Bearer dev:alice"
}`

export const FIRST_QUERY = `# Who is online, right now. You are alice: the
# header below says so.

# Puts you online.
mutation Heartbeat {
  heartbeat {
    expiresAt
    nextHeartbeatInMs
    viewer {
      status
    }
  }
}

# Shows everyone who is.
query WhoIsOnline {
  onlineUsers {
    totalCount
    nodes {
      id
      name
      status
      statusMessage
      onlineSince
      lastActive
    }
  }
}

# Watches who comes, goes and changes. Run it,
# and let another window send a heartbeat as
# {"authorization": "Bearer dev:bob"}.
subscription WhatHappens {
  presenceChanged {
    kind
    at
    user {
      id
      name
      status
      statusMessage
    }
  }
}
`
