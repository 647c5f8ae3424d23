// Package diagnose holds the probes: questions about whether the API server can reach Holdfast and the injectors it lives
// with, one file each. A probe asks and judges, and changes nothing; together they are in an order in which the first that
// fails names the cause, and those that would fail because of it are skipped with that reason.
//
// The same probes run in the server (at startup and from then on) and in `holdfast diagnose`. What only the server can know,
// such as the files of its certificate, is asked by the server; the command reads the server's answers.
package diagnose
