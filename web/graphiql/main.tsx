/** GraphiQL with everything that it needs in the bundle: it works where there is no network but the server's. */
import 'graphiql/setup-workers/vite'
import 'graphiql/style.css'
import { GraphiQL } from 'graphiql'
import { createRoot } from 'react-dom/client'
import { fetcher } from './fetcher.ts'
import { FIRST_HEADERS, FIRST_QUERY } from './first-tab.ts'
import { storageProps } from './storage.ts'

const root = document.getElementById('graphiql')
if (root === null) throw new Error('The page has no place for GraphiQL.')

createRoot(root).render(
  <GraphiQL
    fetcher={fetcher}
    {...storageProps()}
    defaultTabs={[{ query: FIRST_QUERY, headers: FIRST_HEADERS }]}
    defaultHeaders={FIRST_HEADERS}
    defaultEditorToolsVisibility="headers"
  >
    <GraphiQL.Logo>Rollcall</GraphiQL.Logo>
  </GraphiQL>,
)
