"""Object detection and instance segmentation: Faster R-CNN and Mask R-CNN with FPN, built from torchvision's parts."""
