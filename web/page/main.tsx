/** The demo page, made with `@rollcall/client`: two people side by side, or the person who is signed in. */
import { createRoot } from 'react-dom/client'
import { App } from './app.tsx'

const root = document.getElementById('page')
if (root === null) throw new Error('The document has no element with the id "page".')
createRoot(root).render(<App />)
