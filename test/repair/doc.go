// Package repair breaks one thing after another in a cluster that is as real as it gets without machines (the pods of the shipped
// Deployment, two replicas, istiod, and for TestCertManager cert-manager, on a node of test/kubelet), reads what `holdfast diagnose`
// prints, and types it: the commands of the fix, in a shell, with nothing but kubectl and holdfast at hand. Then everything has to
// be well again. What no kubectl can mend, such as a firewall, a test mends as the lines say.
//
// With -hand=DIR nobody types them: each report is written to DIR and a person (who is given DIR alone: see the files there)
// repairs, and the test waits.
package repair
