/**
 * Returns the remembered answer for this key, or requests it. Callers that arrive while the request runs share it. A
 * failure is forgotten. The owner of `answers` decides how long an answer stays.
 */
export function shareRequest<Key, Value>(
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
