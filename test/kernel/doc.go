// Package kernel plays an injected pod in network namespaces and lets the Linux kernel say which of its containers can
// connect. It is the judge of every claim about redirected traffic: a plan that says "cut" must be refused here, and one
// that says "open" or "meshed" must connect.
//
// For each [Rig.Play] there are two network namespaces, joined by a veth pair. The pod's has one address and a default
// route; the world's answers at whatever addresses the play asks for. The pod's containers take their turns in the
// kubelet's order, one at a time:
//
//   - before any container, where the pod has istio-validation and not istio-init, what Istio's node plugin does for the
//     sandbox: it reads the annotations as they are by then, and programs the redirect, or skips the pod;
//   - istio-init and istio-validation run the real `pilot-agent istio-iptables`, with the container's own arguments,
//     environment, user and group;
//   - istio-proxy is a forwarder on port 15001, and a name server on port 15053, that serves from its turn to the end;
//   - every other container opens its connections, as its own user and group, and is done.
//
// A refused init container ends the story in a cluster. Here it does not: each container answers for itself what would
// happen if its turn came. Where list order leaves a race (an application and a proxy that nobody waits for), the play
// decides it by list order.
//
// The namespaces have no names and live only as long as the descriptors that hold them: not even a process that is killed
// leaves one behind. Nothing outside them is touched, no address, rule or resolver of the machine.
//
// Only IPv4 is played.
package kernel
