import { unsealData } from 'iron-session';

export default {
  async fetch(request) {
    const { seal, password } = await request.json();
    return new Response(String((await unsealData(seal, { password })).userId));
  },
};
