export function GET(): Response {
  return new Response('The app itself.')
}
