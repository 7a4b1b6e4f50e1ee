"""The network that is trained: backbone, head, losses and whitening."""
