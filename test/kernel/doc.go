// Package kernel plays an injected pod in network namespaces and lets the Linux kernel say which of its containers can
// connect. It is the judge of every claim about redirected traffic: a plan that says "cut" must be refused here, and one
// that says "open" or "meshed" must connect.
//
// For each [Rig.Play] there are two network namespaces, joined by a veth pair. The pod's has one address and a default
// route; the world's answers at whatever addresses the play asks for. The pod's containers take their turns in the
// kubelet's order, one at a time:
//
//   - before any container, what the node plugin of a mesh does for the sandbox: it reads the pod as it is by then, and
//     writes its rules, or leaves the pod alone;
//   - a mesh's installer writes its rules, from where its program reads them: arguments, environment or annotations;
//   - a mesh's validator looks whether it is redirected, and fails where it is not;
//   - a mesh's proxy is a forwarder on the mesh's port, and a name server where the mesh captures names, that serves from
//     its turn to the end;
//   - every other container opens its connections, as its own user and group, and is done.
//
// [Meshes] lists the meshes that are played. They are told by the names of their containers. Istio and Traffic Director
// write their rules with the real pilot-agent, Consul with its own package, Open Service Mesh with the script that its
// webhook rendered; for the others the rules are written out, each with its source, in the mesh's file. A pod of two
// meshes has the rules of both; where their proxies want one port the first has it, and the other fails.
//
// A pod does not say whether its node has a plugin. Its validator, or what its webhook renders for the plugin alone, is
// taken as the sign.
//
// A refused init container ends the story in a cluster. Here it does not: each container answers for itself what would
// happen if its turn came. Where list order leaves a race (an application and a proxy that nobody waits for), the play
// decides it by list order.
//
// The namespaces have no names and live only as long as the descriptors that hold them: not even a process that is killed
// leaves one behind. Nothing outside them is touched, no address, rule or resolver of the machine.
//
// Only IPv4 is played, for every mesh: no rule of a mesh for IPv6 is written. Nor are connections to the pod's own
// addresses, to which Consul points the resolver.
//
// [Mode.Inject] writes pods to play, as a mesh's injector would.
package kernel
