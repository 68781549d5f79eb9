/** Builds the demo page and GraphiQL into dist/web: page.html, graphiql.html, and what they load under assets/. */
import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url))
}

export default defineConfig({
  root: path('web'),
  // Relative: the pages lie below any BASE_PATH.
  base: './',
  plugins: [react()],
  // From its source: the pages are built without building the kit first.
  resolve: {
    alias: [
      { find: /^@rollcall\/client\/react$/, replacement: path('client/src/react/index.ts') },
      { find: /^@rollcall\/client$/, replacement: path('client/src/index.ts') },
    ],
  },
  build: {
    outDir: path('dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    // A strict content policy allows no scripts but files, and every browser of the target knows preloading.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // GraphiQL's editor is 3 MB; its page alone loads it.
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      input: { page: path('web/page.html'), graphiql: path('web/graphiql.html') },
      onwarn(warning, warn) {
        // GraphiQL carries words for a compiler that has run already.
        if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') warn(warning)
      },
    },
  },
})
