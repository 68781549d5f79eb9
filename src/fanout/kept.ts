/**
 * The answer that is kept under this key, or else asked for: whoever comes meanwhile gets the same. A failure is not
 * kept, and how long an answer is, is its owner's to say.
 */
export function kept<Key, Value>(
  answers: Map<Key, Promise<Value>>,
  key: Key,
  ask: () => Promise<Value>,
): Promise<Value> {
  const known = answers.get(key)
  if (known !== undefined) return known
  const answer = ask()
  answers.set(key, answer)
  answer.catch(() => {
    if (answers.get(key) === answer) answers.delete(key)
  })
  return answer
}
