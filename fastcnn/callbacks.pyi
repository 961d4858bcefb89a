from fastcnn.training.callbacks import *
