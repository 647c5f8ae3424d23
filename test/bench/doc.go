// Package bench measures the hot path of a review: from the decoded pod to its plan, the rules' report and the remedies'
// patch, for a pod as its user wrote it and for the same pod after Istio and Vault.
//
//	go test ./test/bench -run '^$' -bench . -benchmem
package bench
