"""A cluster of our own: kind's nodes, a second Docker network as the document's eth1, Calico."""
