/**
 * Turns the operations that stand in code into typed documents: `graphql(`…`)` then knows its variables and its data.
 *
 * What it writes is committed, so that the examples can be copied as they are; `graphql-codegen --check` fails where
 * it is not up to date.
 */
import type { CodegenConfig } from '@graphql-codegen/cli'
import scalars from './scalars.json' with { type: 'json' }

/** One folder of documents, with the generated code beside them. */
function documentsOf(folder: string): CodegenConfig['generates'] {
  return {
    [`${folder}/generated/`]: {
      preset: 'client',
      documents: [`${folder}/**/*.{ts,tsx}`, `!${folder}/generated/**`],
      presetConfig: { fragmentMasking: false },
      config: {
        // A scalar that is not named here fails, instead of being `any`.
        strictScalars: true,
        scalars: { ID: 'string', ...scalars },
        enumsAsTypes: true,
        useTypeImports: true,
      },
    },
  }
}

/** Types alone: the client kit sends its documents as they stand in its code. */
const kit: CodegenConfig['generates'] = {
  'client/src/generated.ts': {
    plugins: ['typescript-operations'],
    documents: ['client/src/operations.ts', 'client/src/worker/operations.ts'],
    config: { strictScalars: true, scalars: { ID: 'string', ...scalars }, enumsAsTypes: true, useTypeImports: true },
  },
}

const config: CodegenConfig = {
  schema: 'schema.graphql',
  importExtension: '.ts',
  generates: { ...documentsOf('examples'), ...kit },
}

export default config
