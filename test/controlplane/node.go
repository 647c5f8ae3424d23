package controlplane

// Node runs pods: a kubelet of test/kubelet.
type Node interface {
	// Provide has the node run pods with this image from now on.
	Provide(Program)
}

// Program stands for an image: one static binary and nothing else, which is its entrypoint.
type Program struct {
	Image  string // as pods name it
	Path   string // in the container
	Binary string // on this machine
	User   int64  // whom it runs as where the pod does not say, as user and as group
}
