/** A page that reads, and a form that writes. */
export const load = ({ locals: { session } }) => ({ subject: session.subject, visits: session.data.visits ?? 0, rejected: session.rejected });

export const actions = {
  default: async ({ locals: { session }, request }) => {
    session.authenticate((await request.formData()).get('name'));
    session.data.visits = (session.data.visits ?? 0) + 1;
    return { signedIn: true };
  },
};
