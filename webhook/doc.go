// Package webhook is Holdfast's admission edge: the server, its certificates, what it knows of the cluster, and the two
// handlers, which turn an AdmissionReview into a plan and what is found in the plan into an answer.
//
// It must never be why a pod is not admitted: what goes wrong here counts as admitted, is logged and is counted. Nothing of
// a pod but names of objects, containers and remedies leaves it, neither in logs nor in metrics.
package webhook
