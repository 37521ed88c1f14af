"""`make node`: one real node. etcd, kube-apiserver, kube-controller-manager, kube-scheduler, a kubelet, containerd and
runc, CNI's bridge; on it the operator from its chart, and a Django app in pods that really run.

Everything is in namespaces of its own (network, mounts, processes), so that nothing of it is left when it ends:
dev/node-test.sh makes them. All images are built here and imported; nothing is pulled.
"""
