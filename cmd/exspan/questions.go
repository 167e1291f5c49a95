package main

// questions maps what people ask to the commands that answer, for the help of the
// program. Those in it that end in trace.pcapng are run by a test.
const questions = `Questions, and the commands that answer them:

  exspan analyze trace.pcapng                               what is wrong, and what to do
  exspan analyze --by pair trace.pcapng                     who talks to whom
  exspan analyze --finding cleartext,weak-auth trace.pcapng what is unencrypted
  exspan analyze --finding blocked trace.pcapng             what is blocked
  exspan explain --status unexpected trace.pcapng           why flows are unexpected
  exspan rules coverage trace.pcapng                        which paths are missing
  exspan site infer trace.pcapng -o site.yaml               which servers these are; then
                                                            review it, and use --site
  exspan glossary                                           what the words mean`
