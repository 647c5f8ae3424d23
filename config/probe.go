package config

// What the probe of reachability and the server agree on. The probe creates a ConfigMap with ProbeLabel and a nonce in our own
// namespace, as a dry run; two entries of our webhook configurations send it to the server, which gives the nonce back, as an
// annotation from the mutating one and as a warning from the validating one, with the name of the replica that answered.
const (
	ProbeLabel      = "holdfast.dev/probe"
	ProbeLabelValue = "reach"

	ProbeNonceAnnotation  = "holdfast.dev/probe-nonce"
	ProbeAnswerAnnotation = "holdfast.dev/probe-answer" // NONCE REPLICA
	// ProbeWarning begins the warning; NONCE REPLICA follow.
	ProbeWarning = "holdfast-probe "

	// ProbeMutate and ProbeValidate are the names of the two entries.
	ProbeMutate   = "probe.mutate.holdfast.dev"
	ProbeValidate = "probe.validate.holdfast.dev"
	// ProbeMutatePath and ProbeValidatePath are where the server answers them.
	ProbeMutatePath   = "/probe/mutate"
	ProbeValidatePath = "/probe/validate"
)
